"""Hand a task to one child of a relay, and fetch its result.

The relay trusts its children no more than the control plane trusts agents: the body of an answer is bounded while it
comes in, has to fit its digest and the signature of the child's device, and is not parsed here. It lies in a file
without a name, which is mapped into memory.
"""

import asyncio
import hashlib
import mmap
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import httpx2

from tcsfeel.agent.insisting import Sleep, detail_of
from tcsfeel.agent.results import Payload
from tcsfeel.errors import Picklable
from tcsfeel.rest.calls import bearer
from tcsfeel.rest.problems import refusal
from tcsfeel.text import plain
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.digests import CONTENT_DIGEST, read_digest, written_digest
from tcsfeel.wire.relays import LONGEST_REASON, Child
from tcsfeel.wire.signatures import SIGNATURE, SIGNATURE_INPUT, WrongSignature, check_answer, result_components

MOST_TRIES = 3
FIRST_PAUSE_SECONDS = 0.5
BUSY_SECONDS = 5.0  # before the second try at a child that has no time; each pause is twice as long as the last one
POLL_SECONDS = 20.0
POLL_PAUSE_SECONDS = 1.0  # after a poll that did not bring the result

_SENT_BYTES = 1 << 18
_COMPLAINT_BYTES = 1 << 12


class ChildFailed(Picklable):
    """There is no result of a child, for a reason in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(plain(reason, LONGEST_REASON))


class _Unreachable(ChildFailed):
    """A call failed in a way that may pass."""


@dataclass(frozen=True, slots=True)
class Received:
    """The result of a child as it came.

    Attributes:
        body: its bytes.
        digest: their SHA-256.
        signature_input, signature: the headers of the signature, which fits; empty if the child does not sign.
        seconds: how long they took to come in.
    """

    body: memoryview
    digest: bytes
    signature_input: str = ""
    signature: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Errand:
    """A child's task as it is sent, and what its result may be.

    Attributes:
        child: the child.
        payload: the body of its task.
        digest: the SHA-256 of that.
        most_bytes: the most bytes of a result.
        directory: where results lie; None for the system's directory of temporary files.
    """

    child: Child
    payload: Payload
    digest: bytes
    most_bytes: int
    directory: Path | None = None


class _Call(NamedTuple):
    """One call of a child about its task."""

    method: str
    query: str
    headers: dict[str, str]
    content: AsyncIterator[bytes] | None


async def result_of(
    errand: Errand, http: httpx2.AsyncClient, *, clock: Callable[[], float], sleep: Sleep = asyncio.sleep
) -> Received:
    """Hand a task over, and wait for its result until the child's deadline. `clock` returns seconds.

    Raises:
        ChildFailed: there is no result.
    """
    until = clock() + errand.child.deadline_seconds
    try:
        async with asyncio.timeout(errand.child.deadline_seconds):
            return await _pursue(errand, http, clock, sleep, until)
    except TimeoutError:
        raise ChildFailed(f"it had no result within {errand.child.deadline_seconds:.3g} s") from None


async def _pursue(
    errand: Errand, http: httpx2.AsyncClient, clock: Callable[[], float], sleep: Sleep, until: float
) -> Received:
    """Call until there is a result, or no hope of one."""
    failed, forgotten, busy, handed = 0, 0, 0, False
    while True:
        try:
            answer = await (_poll(errand, http) if handed else _hand_over(errand, http))
        except _Unreachable:
            failed += 1
            if failed >= MOST_TRIES:
                raise
            await sleep(FIRST_PAUSE_SECONDS * 2**failed)
            continue
        match answer:
            case Received():
                return answer
            case HTTPStatus.ACCEPTED:
                if handed:
                    await sleep(POLL_PAUSE_SECONDS)
                handed, failed = True, 0
            case HTTPStatus.NOT_FOUND:
                forgotten += 1  # for good: else the child could have the model sent to it again and again
                if not handed or forgotten >= MOST_TRIES:
                    raise ChildFailed("it answered 404: it does not know the task")
                handed = False
            case _:  # each try sends the model
                await sleep(min(BUSY_SECONDS * 2**busy, max(0.0, until - clock())))
                busy += 1


async def _hand_over(errand: Errand, http: httpx2.AsyncClient) -> Received | HTTPStatus:
    header, block = errand.payload

    async def body() -> AsyncIterator[bytes]:
        yield header
        for start in range(0, len(block), _SENT_BYTES):
            yield bytes(block[start : start + _SENT_BYTES])

    headers = {
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(header) + len(block)),
        CONTENT_DIGEST: written_digest(errand.digest),
    }
    return await _exchange(errand, http, _Call("PUT", "", headers, body()))


async def _poll(errand: Errand, http: httpx2.AsyncClient) -> Received | HTTPStatus:
    return await _exchange(errand, http, _Call("GET", f"?wait={POLL_SECONDS:g}", {}, None))


async def _exchange(errand: Errand, http: httpx2.AsyncClient, call: "_Call") -> Received | HTTPStatus:
    """Make one call. Returns the result, or a status that says that there is none yet. Raises `ChildFailed`."""
    child = errand.child
    url = f"{child.url.rstrip('/')}/tasks/{child.task_id}{call.query}"
    sent = {"Accept-Encoding": "identity", **call.headers, **bearer(child.grant or None)}
    try:
        async with http.stream(call.method, url, headers=sent, content=call.content) as response:
            status = response.status_code
            if status == HTTPStatus.OK:
                return await _receive(errand, response)
            if status in {HTTPStatus.ACCEPTED, HTTPStatus.NOT_FOUND}:
                return HTTPStatus(status)
            if status in {HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}:
                return HTTPStatus.TOO_MANY_REQUESTS
            said = await _complaint(response, child.grant)
    except httpx2.InvalidURL as error:
        raise ChildFailed(f"its URL cannot be called: {error}") from error
    except (httpx2.HTTPError, OSError) as error:
        raise _Unreachable(f"it could not be called ({type(error).__name__}): {error}") from error
    kind = _Unreachable if status in {408, 425, 502, 503, 504} else ChildFailed
    raise kind(f"it answered {status}: {said}".removesuffix(": "))


async def _receive(errand: Errand, response: httpx2.Response) -> Received:
    """Store the body of a result. Raises `ChildFailed`."""
    if (coding := response.headers.get("Content-Encoding", "identity").lower()) != "identity":
        raise ChildFailed(f"its result has the Content-Encoding {coding[:32]!r}, which is not accepted")
    claimed = response.headers.get("Content-Length", "")
    most = errand.most_bytes
    if claimed.isascii() and claimed.isdigit() and len(claimed) < 20:  # noqa: PLR2004  (digits of 64 bits)
        if int(claimed) > most:
            raise ChildFailed(f"its result has {claimed} bytes, at most {most} are allowed")
        most = int(claimed)
    digest, size, began = hashlib.sha256(), 0, time.monotonic()
    room = _mapped(max(1, most), errand.directory)
    async for piece in response.aiter_raw(_SENT_BYTES):
        if size + len(piece) > most:
            raise ChildFailed(f"its result has more than {most} bytes")
        room[size : size + len(piece)] = piece
        digest.update(piece)
        size += len(piece)
    seconds = time.monotonic() - began
    return _verified(errand, response, Received(room[:size].toreadonly(), digest.digest(), seconds=seconds))


def _verified(errand: Errand, response: httpx2.Response, came: Received) -> Received:
    """Compare a result with its digest and its signature. Raises `ChildFailed`."""
    child = errand.child
    said = response.headers.get(CONTENT_DIGEST, "")
    expected = read_digest(said)
    if expected is not None and expected != came.digest:
        raise _Unreachable(f"its result was corrupted on the way: it does not fit its {CONTENT_DIGEST}")
    if not child.public_key:
        return came
    headers = {name: response.headers.get(name, "") for name in (SIGNATURE_INPUT, SIGNATURE)}
    try:
        check_answer(headers, result_components(f"/tasks/{child.task_id}", said), key=child.public_key)
    except WrongSignature as wrong:
        raise ChildFailed(f"its device has not signed its result: {wrong}") from wrong
    if expected is None:
        raise ChildFailed(f"its result has no {CONTENT_DIGEST} with sha-256")
    return replace(came, signature_input=headers[SIGNATURE_INPUT], signature=headers[SIGNATURE])


async def _complaint(response: httpx2.Response, grant: str) -> str:
    """Read what the beginning of the body of an error says, without the grant if it repeats that."""
    text = b""
    async for piece in response.aiter_raw(_COMPLAINT_BYTES):
        text += piece
        if len(text) >= _COMPLAINT_BYTES:
            break
    said = detail_of(refusal(response.status_code, {}, text[:_COMPLAINT_BYTES]))
    return said.replace(grant, "<grant>") if grant else said


def _mapped(size: int, directory: Path | None) -> memoryview:
    """Map a file of this size, which is gone when nothing uses it any more."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.truncate(size)
        return memoryview(mmap.mmap(file.fileno(), size))
