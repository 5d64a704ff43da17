"""Make answers of devices with keys whose signatures are missing, wrong, or those of something else.

All of them have enrolled, as an opened device has. Those of `PROOFS` are wrong when their address has to prove that it
belongs to the device, the others when they train.
"""

import asyncio
import base64
import contextlib
import os
from dataclasses import dataclass

import numpy as np

from tcsfeel.identity import Identity
from tcsfeel.wire.codec import encode
from tcsfeel.wire.digests import CONTENT_DIGEST
from tcsfeel.wire.signatures import RECIPIENT
from tests.harnesses.hostile.exchange import Conduct, Exchange
from tests.harnesses.hostile.signing import KNOWN, SIGNATURE, SIGNATURE_INPUT, device, signed_by

STRANGER = device("a device that never enrolled")
LONG = 100_000  # characters of a header


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer that was sent before."""

    body: bytes
    headers: dict[str, str]


_first: dict[str, _Answer] = {}
"""The right answer to the first call of each device."""


def _own(exchange: Exchange) -> Identity:
    return KNOWN[exchange.headers[RECIPIENT.lower()]]


def _body(exchange: Exchange) -> bytes:
    """Return the body of an honest answer."""
    return b"{}" if exchange.moment == "healthz" else exchange.honest()


async def _send(exchange: Exchange, body: bytes, headers: dict[str, str]) -> None:
    await exchange.answer("200 OK", body, *(f"{name}: {value}" for name, value in headers.items()))


def _without(*names: str) -> Conduct:
    """Sign rightly, and leave these headers out."""

    async def conduct(exchange: Exchange) -> None:
        body = _body(exchange)
        headers = signed_by(_own(exchange), exchange.headers, body)
        await _send(exchange, body, {name: value for name, value in headers.items() if name not in names})

    return conduct


def _by(identity: Identity, *, claimed: bool) -> Conduct:
    """Sign with another key, and name it as the key, or the device's own one if that is `claimed`."""

    async def conduct(exchange: Exchange) -> None:
        body, own = _body(exchange), _own(exchange)
        headers = signed_by(identity, exchange.headers, body)
        if claimed:
            headers[SIGNATURE_INPUT] = headers[SIGNATURE_INPUT].replace(identity.public_key, own.public_key)
        await _send(exchange, body, headers)

    return conduct


def _edited(header: str, old: str, new: str) -> Conduct:
    """Sign rightly, and change a header afterwards."""

    async def conduct(exchange: Exchange) -> None:
        body = _body(exchange)
        headers = signed_by(_own(exchange), exchange.headers, body)
        await _send(exchange, body, headers | {header: headers[header].replace(old, new, 1)})

    return conduct


async def _invented(exchange: Exchange) -> None:
    body = _body(exchange)
    headers = signed_by(_own(exchange), exchange.headers, body)
    await _send(exchange, body, headers | {SIGNATURE: f"tcsfeel=:{base64.b64encode(os.urandom(64)).decode()}:"})


async def _repeated(exchange: Exchange) -> None:
    """Send the right answer to the first call of this device again, to calls of other tasks and other tries."""
    own, body = _own(exchange), exchange.honest()
    first = _first.get(own.public_key)
    if first is None:
        _first[own.public_key] = _Answer(body, signed_by(own, exchange.headers, body))
        first = _Answer(body, {})
    await _send(exchange, first.body, first.headers)


async def _swapped(exchange: Exchange) -> None:
    """Send what another device that takes part has signed, for this very call."""
    other = next(identity for key, identity in KNOWN.items() if key != _own(exchange).public_key)
    body = exchange.honest()
    await _send(exchange, body, signed_by(other, exchange.headers, body))


async def _changed_body(exchange: Exchange) -> None:
    """Send another body of the same length under a right signature, as somebody on the way can do."""
    honest = exchange.honest()
    changed = honest[:-4] + np.float32(7.0).tobytes()
    await _send(exchange, changed, signed_by(_own(exchange), exchange.headers, honest))


async def _changed_digest(exchange: Exchange) -> None:
    """Send another body with its digest, and the signature of the right one."""
    body, honest = encode({"w": np.zeros(1, np.float32)}), exchange.honest()
    headers = signed_by(_own(exchange), exchange.headers, honest)
    await _send(exchange, body, headers | {CONTENT_DIGEST: signed_by(STRANGER, {}, body)[CONTENT_DIGEST]})


async def _other_status(exchange: Exchange) -> None:
    body = exchange.honest()
    await _send(exchange, body, signed_by(_own(exchange), exchange.headers, body, status=202))


async def _long_header(exchange: Exchange) -> None:
    body = _body(exchange)
    headers = signed_by(_own(exchange), exchange.headers, body)
    await _send(exchange, body, headers | {SIGNATURE: headers[SIGNATURE] + ", x=:" + "A" * LONG + ":"})


async def _twice(exchange: Exchange) -> None:
    """Announce that the task is accepted, and send a result at once, which would be the answer to the next call."""
    await exchange.answer("202 Accepted")
    body = exchange.honest()
    await _send(exchange, body, signed_by(_own(exchange), exchange.headers, body))


def _signed(value: float) -> Conduct:
    """Sign a result that is wrong, as an opened device can do."""

    async def conduct(exchange: Exchange) -> None:
        body = exchange.result({name: np.full_like(one, value) for name, one in exchange.parameters().items()})
        await _send(exchange, body, signed_by(_own(exchange), exchange.headers, body))

    return conduct


async def _relayed(exchange: Exchange) -> None:
    """Pass the call, as it was signed, on to an honest agent, whose port is in the path; send back what it answers."""
    port, _, below = exchange.target.partition("/")
    kept = ("tcsfeel-agent", "signature-input", "signature", "content-digest", "authorization", "content-type")
    head = [f"{exchange.method} /{below} HTTP/1.1", "Host: tcsfeel", "Connection: close"]
    head += [f"{name}: {value}" for name, value in exchange.headers.items() if name in kept]
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write("\r\n".join([*head, f"Content-Length: {len(exchange.body)}", "", ""]).encode("latin-1"))
        writer.write(exchange.body)
        await exchange.send(await reader.read())
        writer.close()


RELAY = "relayed"

SIGNATURES: dict[str, Conduct] = {
    "unsigned": _without(SIGNATURE, SIGNATURE_INPUT),
    "without-digest": _without(CONTENT_DIGEST),
    "without-input": _without(SIGNATURE_INPUT),
    "invented": _invented,
    "by-another-key": _by(STRANGER, claimed=True),
    "by-a-named-other-key": _by(STRANGER, claimed=False),
    "repeated": _repeated,
    "swapped": _swapped,
    "changed-body": _changed_body,
    "changed-digest": _changed_digest,
    "other-status": _other_status,
    "other-tag": _edited(SIGNATURE_INPUT, 'tag="tcsfeel"', 'tag="other"'),
    "other-algorithm": _edited(SIGNATURE_INPUT, ";keyid", ';alg="hmac-sha256";keyid'),
    "covers-less": _edited(SIGNATURE_INPUT, '"content-digest" ', ""),
    "other-label": _edited(SIGNATURE, "tcsfeel=", "other="),
    "long-header": _long_header,
    "answers-twice": _twice,
    "signed-nan": _signed(float("nan")),
    "signed-1e30": _signed(1e30),
    RELAY: _relayed,
}

PROOFS: dict[str, Conduct] = {
    "proof-unsigned": _without(SIGNATURE, SIGNATURE_INPUT),
    "proof-invented": _invented,
    "proof-of-another": _by(STRANGER, claimed=False),
}
