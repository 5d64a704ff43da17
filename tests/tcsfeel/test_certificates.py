"""Files of certificates and keys, and what is said of those that cannot be used."""

import ssl
from pathlib import Path

import pytest

from tcsfeel.certificates import UnusableCertificate, show_certificate, to_callers, to_servers, trusted
from tests.authorities import Authority


def test_with_a_file_its_authorities_are_trusted_and_no_others(tmp_path: Path) -> None:
    context = to_servers(Authority(tmp_path).ca)
    assert len(context.get_ca_certs()) == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert trusted(None) is True
    assert isinstance(trusted(Authority(tmp_path).ca), ssl.SSLContext)


def test_without_a_file_certificates_are_checked_all_the_same() -> None:
    context = to_servers()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_certificate_and_its_key_are_loaded(tmp_path: Path) -> None:
    pair = Authority(tmp_path).certify("localhost")
    assert to_callers(*pair).verify_mode == ssl.CERT_NONE
    show_certificate(to_servers(), *pair)


@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_authorities_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    with pytest.raises(UnusableCertificate, match=r"ca\.pem holds no certificate of an authority") as caught:
        to_servers(file)
    assert caught.value.which == "ca_file"


@pytest.mark.parametrize(("missing", "which"), [("x.crt", "cert_file"), ("x.key", "key_file")])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, missing: str, which: str) -> None:
    Authority(tmp_path).certify("x")
    (tmp_path / missing).unlink()
    with pytest.raises(UnusableCertificate, match=f"{missing} cannot be read: No such file") as caught:
        to_callers(tmp_path / "x.crt", tmp_path / "x.key")
    assert caught.value.which == which
    with pytest.raises(UnusableCertificate, match="cannot be read: No such file"):
        to_servers(tmp_path / missing)


def test_a_key_of_another_certificate_an_encrypted_key_and_mixed_up_files_are_told_apart(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.certify("one"), authority.certify("other")
    with pytest.raises(UnusableCertificate, match=r"the key in .*other\.key does not belong to .*one\.crt"):
        to_callers(one.certificate, other.key)
    with pytest.raises(UnusableCertificate, match=r"other\.key holds no certificate, or .*other\.crt no private key"):
        to_callers(other.key, other.certificate)
    locked = authority.certify("locked", password="secret")
    with pytest.raises(UnusableCertificate, match=r"locked\.key is encrypted: store the key without a password"):
        to_callers(*locked)
