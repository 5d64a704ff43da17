"""How an agent that pulls delivers a large result: in parts, and on from where a connection was lost."""

import asyncio
import logging
from collections.abc import Sequence

import httpx2
import pytest

from tcsfeel.agent.delivering import DISAGREEMENTS, LEAST_PART_BYTES, PART_BYTES, SMALL_BYTES, Delivering
from tcsfeel.agent.replies import Problem
from tcsfeel.agent.signing import Signing
from tcsfeel.identity import Identity
from tcsfeel.rest.exchange import Patience
from tcsfeel.rest.transport import AsyncTransport
from tcsfeel.wire.digests import digest_of, written_digest
from tcsfeel.wire.signatures import check_answer, result_components

DEVICE, SERVER = Identity(b"d" * 32), Identity(b"s" * 32)
LARGE = bytes(range(256)) * (3 * PART_BYTES // 256)
DIGEST = written_digest(digest_of([LARGE]))
WHERE = "/v1/clients/c/tasks/t.1.c.fit/result"


class Server:
    """A control plane that takes parts. `faults` are what happens to the next parts: bytes that arrive, or a status."""

    def __init__(self, *faults: int, parts: int = 204) -> None:
        self.faults = list(faults)
        self.parts = parts
        self.has = bytearray()
        self.complete = False
        self.calls: list[str] = []
        self.sizes: list[int] = []
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        self.calls.append(request.method)
        assert request.url.path == WHERE
        if request.method == "PUT":
            self.has[:] = request.read()
            return httpx2.Response(204)
        if self.parts != 204:
            return httpx2.Response(self.parts, json={"detail": "no parts here", "type": "about:blank"})
        if request.method == "PATCH":
            body, fault = request.read(), self.faults.pop(0) if self.faults else None
            self.sizes.append(len(body))
            if fault is not None and 400 <= fault < 600:
                kind = {409: "wrong-offset", 400: "corrupted"}.get(fault, "crowded")
                said = {"type": f"urn:tcsfeel:problem:{kind}", "detail": "no"}
                self.has.clear() if fault == 400 else None
                return httpx2.Response(fault, json=said, headers={"Retry-After": "7"} if fault == 503 else {})
            assert int(request.headers["Upload-Offset"]) == len(self.has)
            self.has += body if fault is None else body[:fault]
            if fault is not None:
                raise httpx2.ReadError("lost")
            self.complete = request.headers["Upload-Complete"] == "?1"
        return httpx2.Response(
            204, headers={"Upload-Offset": str(len(self.has)), "Upload-Complete": "?1" if self.complete else "?0"}
        )


def delivering(server: Server, signing: Signing | None = None) -> tuple[Delivering, list[float]]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(server), base_url="http://plane")
    transport = AsyncTransport(http, Patience(attempts=1))
    headers = {"Authorization": "Bearer own"}
    return Delivering("c", transport, headers=headers, signing=signing, sleep=sleep), slept


async def deliver(
    server: Server, body: Sequence[bytes] = (LARGE[:5], LARGE[5:]), *, signed: bool = False
) -> list[float]:
    made, slept = delivering(server, Signing(DEVICE, SERVER.public_key) if signed else None)
    await made.deliver("t.1.c.fit", body, {})
    return slept


async def test_a_large_result_goes_in_parts_that_grow() -> None:
    server = Server()
    await deliver(server)
    assert (bytes(server.has), server.complete) == (LARGE, True)
    assert server.sizes == [PART_BYTES, 2 * PART_BYTES]
    assert {request.headers["Repr-Digest"] for request in server.requests} == {DIGEST}
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer own"}


async def test_a_small_result_goes_in_one_call() -> None:
    server = Server()
    await deliver(server, [bytes(SMALL_BYTES)])
    assert server.calls == ["PUT"]


async def test_a_lost_connection_costs_what_had_not_arrived_and_parts_become_smaller() -> None:
    server = Server(5_000_000, 0, 0)
    slept = await deliver(server)
    assert bytes(server.has) == LARGE
    assert server.calls[:6] == ["PATCH", "HEAD"] * 3
    assert server.sizes[:4] == [PART_BYTES, PART_BYTES // 2, PART_BYTES // 4, PART_BYTES // 8]
    assert slept[0] == 0.0  # the first call has brought something
    assert 0 < slept[2] <= 1.0


async def test_parts_do_not_become_smaller_without_end() -> None:
    server = Server(*[0] * 8)
    await deliver(server)
    assert min(server.sizes) == LEAST_PART_BYTES


async def test_an_agent_waits_as_long_as_a_busy_server_asks_for() -> None:
    server = Server(503)
    assert await deliver(server) == [7.0]
    assert bytes(server.has) == LARGE


@pytest.mark.parametrize("parts", [405, 422, 501])
async def test_a_control_plane_that_takes_no_parts_gets_the_result_in_one_call(parts: int) -> None:
    server = Server(parts=parts)
    await deliver(server)
    assert server.calls == ["PATCH", "PUT"]
    assert bytes(server.has) == LARGE


async def test_servers_that_disagree_all_the_time_get_the_result_in_one_call() -> None:
    server = Server(*[409] * DISAGREEMENTS)
    await deliver(server)
    assert server.calls == ["PATCH", "HEAD"] * DISAGREEMENTS + ["PUT"]


async def test_a_result_that_was_corrupted_on_the_way_begins_again() -> None:
    server = Server(5_000_000, 400)
    await deliver(server)
    assert (bytes(server.has), server.complete) == (LARGE, True)


async def test_an_answer_that_got_lost_after_the_last_part_is_no_loss() -> None:
    server = Server(PART_BYTES)
    server.complete = True
    await deliver(server)
    assert server.calls == ["PATCH", "HEAD"]


async def test_a_result_that_cannot_be_taken_becomes_a_failure() -> None:
    with pytest.raises(Problem, match="did not take the result: 413"):
        await deliver(Server(parts=413))


async def test_a_task_that_is_no_longer_wanted_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = Server(parts=410)
    await deliver(server)
    assert server.calls == ["PATCH"]
    assert "was refused: 410" in caplog.text


async def test_each_part_has_the_signature_of_the_whole() -> None:
    server = Server()
    await deliver(server, signed=True)
    for request in server.requests:
        check_answer(request.headers, result_components(WHERE, DIGEST, "PATCH"), key=DEVICE.public_key)
