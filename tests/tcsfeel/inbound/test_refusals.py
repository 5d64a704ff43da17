"""Callers that are refused again and again."""

import asyncio
from typing import Any

import pytest

from tcsfeel.inbound.bounds import Bounds
from tcsfeel.inbound.refusals import BURST_SECONDS, FULL_RATES, MOST_ADDRESSES, MOST_SECONDS, MOST_WAITING, Refusals
from tests.tcsfeel.inbound.sockets import calling, refusing, served, until

RATE = 2.0
BURST = int(BURST_SECONDS * RATE)
GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
NO_HTTP = b"\x16\x03\x01\r\n\r\n"
NOW = 1000.0


async def answering(scope: Any, _receive: Any, send: Any) -> None:
    """Answers with the status in the query; under /known the caller has shown a key."""
    if scope["path"] == "/known":
        scope["extensions"]["tcsfeel.welcome"]()
    status = int(scope["query_string"] or 404)
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def spent(rate: float = RATE) -> Refusals:
    """Refusals of which the address "a" has had all that it gets at once."""
    refusals = Refusals(Bounds(refusals_per_second=rate))
    for _ in range(BURST):
        assert refusals.delay("a", NOW) == 0
    return refusals


def test_an_address_is_refused_at_once_for_a_while_and_then_at_a_steady_rate() -> None:
    refusals = spent()
    assert [refusals.delay("a", NOW) for _ in range(3)] == pytest.approx([0.5, 1.0, 1.5])
    assert refusals.delay("b", NOW) == 0


def test_no_refusal_waits_for_longer_than_a_few_seconds_however_many_there_are() -> None:
    refusals = spent()
    assert max(refusals.delay("a", NOW) for _ in range(1000)) == MOST_SECONDS
    assert refusals.delay("a", NOW + MOST_SECONDS + 1) == 0


def test_an_address_that_was_not_refused_for_a_while_has_its_refusals_again() -> None:
    refusals = spent()
    later = NOW + BURST_SECONDS
    assert [refusals.delay("a", later) for _ in range(BURST + 1)] == pytest.approx([0.0] * BURST + [0.5])


def test_many_addresses_share_the_refusals_of_a_few() -> None:
    refusals = Refusals(Bounds(refusals_per_second=RATE))
    crowd = [str(number) for number in range(10 * FULL_RATES)]
    at_once = sum(refusals.delay(address, NOW) == 0 for _ in range(BURST) for address in crowd)
    assert at_once <= len(crowd) + FULL_RATES * BURST
    later = NOW
    for _ in range(50):  # each sends its next call when the last one is refused
        later += max(refusals.delay(address, later) for address in crowd)
    assert 50 * len(crowd) / (later - NOW) <= 1.1 * FULL_RATES * RATE
    quiet = later + BURST_SECONDS + MOST_SECONDS
    assert [refusals.delay("a", quiet) for _ in range(BURST + 1)] == pytest.approx([0.0] * BURST + [1 / RATE])


def test_few_addresses_are_remembered_and_the_one_that_was_refused_last_is_among_them() -> None:
    refusals = spent()
    for number in range(2 * MOST_ADDRESSES):
        refusals.delay(str(number), NOW)
        refusals.delay("a", NOW)
    assert len(refusals._due) == MOST_ADDRESSES
    assert refusals.delay("a", NOW) > 0


async def test_few_refusals_wait_and_all_go_when_the_server_stops() -> None:
    refusals = Refusals(Bounds(refusals_per_second=0.001))
    noted = 0

    def note() -> None:
        nonlocal noted
        noted += 1

    refusals.note = note
    waiting = [asyncio.create_task(refusals.wait("a")) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    assert not await refusals.wait("b")
    assert not any(task.done() for task in waiting)
    refusals.end()
    assert all(await asyncio.gather(*waiting))
    assert noted == MOST_WAITING + 1
    assert await refusals.wait("c")


async def exhaust(server: Any) -> None:
    """Refuse this machine's address until its next refusal waits for as long as any."""
    while server.arrivals.refusals.delay("127.0.0.1", asyncio.get_running_loop().time()) < MOST_SECONDS:
        pass


@pytest.mark.parametrize(("data", "status"), [(GET, 401), (NO_HTTP, 400)], ids=["application", "protocol"])
async def test_a_refusal_comes_at_once_and_after_too_many_of_them_when_the_server_lets_it_go(
    data: bytes, status: int
) -> None:
    async with served(refusing, refusals_per_second=RATE) as server:
        refusals = server.arrivals.refusals
        async with calling(server.port) as caller:
            await caller.send(data)
            assert (await caller.answer())[0] == status
        await exhaust(server)
        async with calling(server.port) as caller:
            await caller.send(data)
            await until(lambda: refusals._waiting == 1)
            refusals.end()
            assert (await caller.answer())[0] == status


@pytest.mark.parametrize("data", [GET, NO_HTTP], ids=["application", "protocol"])
async def test_where_too_many_wait_a_caller_is_cut_off(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsfeel.inbound.refusals.MOST_WAITING", 0)
    async with served(refusing, refusals_per_second=RATE) as server:
        await exhaust(server)
        async with calling(server.port) as caller:
            await caller.send(data)
            assert await caller.rest() == b""


async def test_only_refusals_wait_and_not_what_a_caller_with_the_key_does_not_find() -> None:
    async with served(answering, refusals_per_second=RATE) as server, calling(server.port) as caller:
        await exhaust(server)
        for data, status in [(b"/x?200", 200), (b"/x?503", 503), (b"/known?404", 404), (b"/known?204", 204)]:
            await caller.send(GET.replace(b"/x", data))
            assert (await caller.answer())[0] == status
        refusals = server.arrivals.refusals
        await caller.send(GET.replace(b"/x", b"/known?409"))
        await until(lambda: refusals._waiting == 1)


async def test_an_application_has_ended_before_its_refusal_waits() -> None:
    ended = False

    async def ending(scope: Any, receive: Any, send: Any) -> None:
        nonlocal ended
        await refusing(scope, receive, send)
        ended = True

    async with served(ending, refusals_per_second=RATE) as server, calling(server.port) as caller:
        await exhaust(server)
        await caller.send(GET)
        await until(lambda: server.arrivals.refusals._waiting == 1)
        assert ended
