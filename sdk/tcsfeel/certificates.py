"""Load certificates for TLS, with errors that name the file that is wrong."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tcsfeel.errors import Picklable

Which = Literal["ca_file", "cert_file", "key_file"]


class UnusableCertificate(Picklable, ValueError):
    """A file with certificates or a key cannot be used. `which` says which of the files it is."""

    def __init__(self, which: Which, detail: str) -> None:
        super().__init__(detail)
        self.which: Which = which


def to_servers(ca_file: Path | None = None) -> ssl.SSLContext:
    """Make the context for connections to servers whose certificate is checked.

    With a `ca_file` (PEM), only the authorities in it are trusted, and otherwise those of the system.

    Raises:
        UnusableCertificate: the file cannot be used.
    """
    if ca_file is None:
        return ssl.create_default_context()
    with _checked("ca_file", ca_file, "holds no certificate of an authority in PEM form"):
        return ssl.create_default_context(cafile=ca_file)


def trusted(ca_file: Path | None) -> ssl.SSLContext | Literal[True]:
    """Say as httpx2 does whom to trust: the authorities in `ca_file`, or without one those of the system.

    Raises:
        UnusableCertificate: the file cannot be used.
    """
    return True if ca_file is None else to_servers(ca_file)


def show_certificate(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    """Let a context show a certificate (PEM, followed by those that lead to an authority) to the other side.

    Raises:
        UnusableCertificate: one of the files cannot be used, or the key does not belong to the certificate.
    """
    with _checked("key_file", key_file):
        key_file.read_bytes()
    with _checked("cert_file", cert_file):
        cert_file.read_bytes()
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except _Encrypted:
        raise UnusableCertificate("key_file", f"{key_file} is encrypted: store the key without a password") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            detail = f"the key in {key_file} does not belong to the certificate in {cert_file}"
            raise UnusableCertificate("key_file", detail) from None
        detail = f"{cert_file} holds no certificate, or {key_file} no private key, in PEM form"
        raise UnusableCertificate("cert_file", detail) from None


def to_callers(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Make the context of a server that shows this certificate to its callers. Raises `UnusableCertificate`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    show_certificate(context, cert_file, key_file)
    return context


class _Encrypted(Exception):
    """A key needs a password."""


def _no_password() -> str:
    raise _Encrypted


@contextmanager
def _checked(which: Which, path: Path, otherwise: str = "") -> Iterator[None]:
    try:
        yield
    except ssl.SSLError:
        raise UnusableCertificate(which, f"{path} {otherwise}") from None
    except OSError as error:
        raise UnusableCertificate(which, f"{path} cannot be read: {error.strerror or error}") from None
