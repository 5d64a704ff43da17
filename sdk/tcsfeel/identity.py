"""Give a device its own key pair, with which it signs what it sends: Ed25519 (RFC 8032), by libsodium.

A public key is written as base64url without padding, which is 43 characters. The private key is a seed of 32 bytes. It
stays in one file of the device, which only its user can read, and it is written there in the same way.

PyNaCl does the work. It is imported at the first use, because devices without an identity do not install it: the extra
``tcsfeel[identity]`` brings it.
"""

import base64
import os
import re
import secrets
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tcsfeel import private
from tcsfeel.errors import Picklable

if TYPE_CHECKING:
    import nacl.signing

KEY_FORM = r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"  # the last character has four bits of the key, and two that are 0
"""The form of a public key as a regular expression."""
SIGNATURE_BYTES = 64

_SEED_BYTES = 32
_MOST_BYTES = 4096  # of the file of an identity
_KEY = re.compile(KEY_FORM)


class UnusableIdentity(Picklable):
    """The file of an identity cannot be read or made, or holds something else."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}, which keeps the identity of this device, {reason}")
        self.path = path
        self.reason = reason


class Identity:
    """A key pair. `public_key` may be shown to everybody.

    Args:
        seed: the private key, 32 bytes.

    Raises:
        ImportError: PyNaCl is not installed.
    """

    def __init__(self, seed: bytes) -> None:
        self._key: nacl.signing.SigningKey = _signing().SigningKey(seed)
        self.public_key = written(bytes(self._key.verify_key))

    def __repr__(self) -> str:
        return f"Identity(public_key={self.public_key!r})"

    @classmethod
    def make(cls) -> "Identity":
        """Make a key pair that exists nowhere else, and store it nowhere."""
        return cls(secrets.token_bytes(_SEED_BYTES))

    @classmethod
    def load_or_make(cls, path: Path) -> "Identity":
        """Load the identity from a file. If there is no file, make an identity and a file that only this user can read.

        Raises:
            UnusableIdentity: the file cannot be read or made, or holds no identity.
            ImportError: PyNaCl is not installed.
        """
        _signing()  # before a file is made
        try:
            private.make_directory(path.parent)
            try:
                return cls(_made(path))
            except FileExistsError:
                return cls(_loaded(path))
        except OSError as error:
            raise UnusableIdentity(str(path), f"cannot be read or made: {error.strerror or error}") from error

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, which has 64 bytes."""
        return self._key.sign(message).signature


def verify(public_key: str, signature: bytes, message: bytes) -> bool:
    """Tell whether the owner of `public_key` signed this message.

    Raises:
        ImportError: PyNaCl is not installed.
    """
    signing = _signing()
    from nacl.exceptions import BadSignatureError  # noqa: PLC0415  (an extra, which `_signing` has found)

    if len(signature) != SIGNATURE_BYTES or not _KEY.fullmatch(public_key):
        return False
    try:
        signing.VerifyKey(read(public_key)).verify(message, signature)
    except BadSignatureError:
        return False
    return True


def is_public_key(text: str) -> bool:
    """Tell whether a text is the public key of some identity.

    About half of all texts in the right form are none, because they are no points of the curve. A few points are so
    weak that anybody can sign for them. They are refused too.

    Raises:
        ImportError: PyNaCl is not installed.
    """
    _signing()
    from nacl.bindings import crypto_core_ed25519_is_valid_point  # noqa: PLC0415  (as above)

    return _KEY.fullmatch(text) is not None and crypto_core_ed25519_is_valid_point(read(text))


def written(key: bytes) -> str:
    """Write the bytes of a key as text: base64url without padding."""
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def read(text: str) -> bytes:
    """Read the bytes of a key that has the form `KEY_FORM`."""
    return base64.urlsafe_b64decode(f"{text}=")


def _made(path: Path) -> bytes:
    """Make the file with a new seed. Raises `FileExistsError` if it is there."""
    if path.exists():
        raise FileExistsError
    seed = secrets.token_bytes(_SEED_BYTES)
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with open(draft, "xb", opener=private.opener) as file:
            file.write(f"{written(seed)}\n".encode())
            file.flush()
            os.fsync(file.fileno())  # a device that lost its key after it registered could not come back
        path.hardlink_to(draft)  # so another process finds the whole file or none
    finally:
        draft.unlink(missing_ok=True)
    return seed


def _loaded(path: Path) -> bytes:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & private.OTHERS:
            raise UnusableIdentity(str(path), f"can be read by other users: run `chmod 600 {path}`")
        text = file.read(_MOST_BYTES).decode("ascii", "replace").strip()
    if not _KEY.fullmatch(text):
        raise UnusableIdentity(
            str(path), "holds no identity: restore it, or remove it; the device then has to enrol again"
        )
    return read(text)


def _signing() -> ModuleType:
    try:
        import nacl.signing  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError as error:
        raise ImportError(
            "an identity needs the package pynacl: pip install 'tcsfeel[identity]'", name=error.name
        ) from error
    return nacl.signing
