"""Sign calls of agents and their answers, and verify them: HTTP message signatures (RFC 9421) with Ed25519.

- The signature of a call covers its method, path and query, the digest of its body if it has one, and the public key of
  the agent that is called. It is valid for a minute, and has a nonce, so that it can be used once and at one agent.
- The signature of an answer covers its status, the digest of its body, and the signature of the call. So it fits no
  other call: not the one before, and not one of another task.
- An agent that pulls makes the calls itself. Its task is signed with the nonce that it asked with, so it fits no other
  question. Its result is signed with the path of its task, so it fits no other task. No clock is needed for either.

This reads exactly the form that it writes, with the components and the parameters in any order (ADR 0016).
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from tcsfeel.identity import Identity, verify
from tcsfeel.text import moment
from tcsfeel.wire.digests import CONTENT_DIGEST, REPR_DIGEST
from tcsfeel.wire.errors import SHOWN, WireError, quoted

WINDOW_SECONDS: Final = 60
"""How far the clocks of the two sides may differ, and for how long a signed call is valid."""
SIGNATURE = "Signature"
SIGNATURE_INPUT = "Signature-Input"
RECIPIENT = "Tcsfeel-Agent"
"""The header of a call that names the public key of the agent that is called."""

ACCEPT_SIGNATURE = "Accept-Signature"
"""The header in which an agent that pulls names the key and the nonce with which its task should be signed."""

_LABEL = "tcsfeel"
_TAG = "tcsfeel"
_MOST = 2000  # characters of a header
_VALUE = r'(?:\d{1,15}|"[ !#-\[\]-~]{0,200}")'
_PARAMETER = re.compile(rf";([a-z]+)=({_VALUE})")
_INPUT = re.compile(rf"{_LABEL}=(\(([^()]*)\)(?:;[a-z]+={_VALUE})*)")
_SIGNED = re.compile(rf"{_LABEL}=(:([A-Za-z0-9+/]{{86}}==):)")
_OF_TASK = '"@status" "content-digest" "tcsfeel-agent"'
_WANTED = re.compile(rf'{_LABEL}=\({_OF_TASK}\);keyid="([A-Za-z0-9_-]{{43}})";nonce="([!#-\[\]-~]{{1,64}})"')
_OF_CALL = f'"signature";req;key="{_LABEL}"'

Components = Mapping[str, str]
"""The values that a signature covers, by the identifiers of their components as RFC 9421 writes them."""


class WrongSignature(WireError):
    """A message is not signed by who it should be, or for something else.

    `passing` says that another try may fit: a header may have been corrupted on the way.
    """

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Signed:
    """A message with a signature that fits.

    Attributes:
        base: the text that was signed (RFC 9421, section 2.5).
        signature: its signature, 64 bytes.
        created: when it was signed, unix seconds.
        nonce: what makes it differ from every other call; empty if it is an answer.
        key: the public key of its signer.
    """

    base: str
    signature: bytes
    created: int
    nonce: str = ""
    key: str = ""

    @property
    def written(self) -> str:
        """The signature as RFC 9421 writes it: base64 between colons."""
        return f":{base64.b64encode(self.signature).decode()}:"


def call_components(method: str, target: str, recipient: str, digest: str = "") -> Components:
    """Name what the signature of a call covers.

    Args:
        method: its method.
        target: its path as it is sent, with the query if there is one.
        recipient: the public key of the agent.
        digest: the value of its header `digest_header`; empty if it has no body.
    """
    path, mark, query = target.partition("?")
    covered = {'"@method"': method, '"@path"': path}
    if mark:
        covered['"@query"'] = f"?{query}"
    if digest:
        covered[f'"{digest_header(method).lower()}"'] = digest
    return covered | {f'"{RECIPIENT.lower()}"': recipient}


def answer_components(status: int, digest: str, call: Signed) -> Components:
    """Name what the signature of an answer to a signed call covers; `digest` is the value of its ``Content-Digest``."""
    return {'"@status"': str(status), '"content-digest"': digest, _OF_CALL: call.written}


def task_components(digest: str, recipient: str) -> Components:
    """Name what the signature of a task covers that an agent with the key `recipient` has asked for."""
    return {'"@status"': "200", '"content-digest"': digest, f'"{RECIPIENT.lower()}"': recipient}


def digest_header(method: str) -> str:
    """Return the header that names the whole body: a ``PATCH`` has only a part of it as its content (RFC 9530)."""
    return REPR_DIGEST if method == "PATCH" else CONTENT_DIGEST


def result_components(path: str, digest: str, method: str = "PUT") -> Components:
    """Name what the signature of a result covers, which may come in one ``PUT`` or in several ``PATCH``.

    `path` is that of its call, from ``/v1`` on, and `digest` the value of the header `digest_header`.
    """
    return {'"@method"': method, '"@path"': path, f'"{digest_header(method).lower()}"': digest}


def wanted_signature(key: str, nonce: str) -> str:
    """Write the value of `ACCEPT_SIGNATURE`: the public key of the control plane, and a nonce that is new."""
    return f'{_LABEL}=({_OF_TASK});keyid="{key}";nonce="{nonce}"'


def read_wanted(value: str) -> tuple[str, str] | None:
    """Read the key and the nonce from the value of `ACCEPT_SIGNATURE`; None if it is not in the form of ours."""
    found = _WANTED.fullmatch(value.strip())
    return None if found is None else (found[1], found[2])


def sign_call(identity: Identity, components: Components, *, now: float, nonce: str) -> tuple[Signed, dict[str, str]]:
    """Sign a call. Returns what was signed, and the headers of the signature."""
    created = int(now)
    return _sign(
        identity, components, f';created={created};expires={created + WINDOW_SECONDS};nonce="{nonce}"', created, nonce
    )


def sign_answer(
    identity: Identity, components: Components, *, now: float, nonce: str = ""
) -> tuple[Signed, dict[str, str]]:
    """Sign an answer, or a result. Returns what was signed, and the headers of the signature.

    `nonce` is the one that the caller asked for, if it did.
    """
    created = int(now)
    return _sign(identity, components, f";created={created}" + (f';nonce="{nonce}"' if nonce else ""), created, nonce)


def check_call(headers: Mapping[str, str], components: Components, *, key: str, now: float) -> Signed:
    """Verify the signature of a call that `key` should have signed. `now` is what this machine's clock says.

    The caller has to refuse a nonce that it has seen before.

    Raises:
        WrongSignature: there is no signature, it is too old, or it does not fit.
    """
    signed, parameters = _read(headers, components, key)
    nonce, expires = parameters.get("nonce"), parameters.get("expires")
    if not isinstance(nonce, str) or not nonce or not isinstance(expires, int):
        raise WrongSignature(f"the parameters of its {SIGNATURE_INPUT} have no nonce or no expires")
    if abs(now - signed.created) > WINDOW_SECONDS or now > expires:
        raise WrongSignature(
            f"it was signed at {moment(signed.created)}, and the clock of the agent says {moment(now)}: they may differ"
            f" by {WINDOW_SECONDS} s; if they always do, set the clock of the agent"
        )
    _verify(signed, key)
    return replace(signed, nonce=nonce)


def check_answer(headers: Mapping[str, str], components: Components, *, key: str, nonce: str = "") -> Signed:
    """Verify the signature of an answer, or of a result, that `key` should have signed.

    Raises:
        WrongSignature: there is no signature, it does not fit, or it is not for the question with this `nonce`.
    """
    signed, parameters = _read(headers, components, key)
    if nonce and parameters.get("nonce") != nonce:
        raise WrongSignature("it was signed for another question: its nonce is another one")
    _verify(signed, key)
    return signed


def signature_base(components: Components, parameters: str) -> str:
    """Return the text that is signed (RFC 9421, section 2.5)."""
    lines = [f"{name}: {value}" for name, value in components.items()]
    return "\n".join([*lines, f'"@signature-params": {parameters}'])


def _sign(
    identity: Identity, components: Components, parameters: str, created: int, nonce: str = ""
) -> tuple[Signed, dict[str, str]]:
    written = f'({" ".join(components)}){parameters};keyid="{identity.public_key}";tag="{_TAG}"'
    base = signature_base(components, written)
    signed = Signed(base, identity.sign(base.encode()), created, nonce, identity.public_key)
    return signed, {SIGNATURE_INPUT: f"{_LABEL}={written}", SIGNATURE: f"{_LABEL}={signed.written}"}


def _read(headers: Mapping[str, str], components: Components, key: str) -> tuple[Signed, dict[str, int | str]]:
    """Read a signature that `key` should have made, without verifying it. Raises `WrongSignature`."""
    described, given = headers.get(SIGNATURE_INPUT, "").strip(), headers.get(SIGNATURE, "").strip()
    if not described or not given:
        raise WrongSignature("it is not signed")
    found, signature = _INPUT.fullmatch(described[:_MOST]), _SIGNED.fullmatch(given[:_MOST])
    if found is None or signature is None:
        raise WrongSignature(
            f"its {SIGNATURE_INPUT} or {SIGNATURE} is not in the form that the agent protocol describes"
        )
    covered = found[2].split(" ")
    if sorted(covered) != sorted(components):
        raise WrongSignature(f"its signature covers {quoted(found[2])}, and should cover {' '.join(components)}")
    parameters = {name: int(value) if value.isdigit() else value[1:-1] for name, value in _PARAMETER.findall(found[1])}
    created, signer = parameters.get("created"), str(parameters.get("keyid", ""))
    if not isinstance(created, int) or parameters.get("tag") != _TAG:
        raise WrongSignature(f'the parameters of its {SIGNATURE_INPUT} have no created, or no tag="{_TAG}"')
    if signer != key:
        raise WrongSignature(f"it is signed with the key {quoted(signer)}, and should be with {key[:SHOWN]}")
    base = signature_base({name: components[name] for name in covered}, found[1])
    return Signed(base, base64.b64decode(signature[2]), created, key=signer), parameters


def _verify(signed: Signed, key: str) -> None:
    if not verify(key, signed.signature, signed.base.encode("utf-8", "replace")):
        raise WrongSignature("its signature does not fit", passing=True)
