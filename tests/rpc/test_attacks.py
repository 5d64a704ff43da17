"""Callers without a key that send no message, too much, or nonsense, while others call."""

import asyncio
from typing import Any

import grpc
import pytest

from app.rpc import arrivals
from app.rpc.arrivals import MOST_OF_ADDRESS
from app.rpc.messages import SERVICE
from app.rpc.operations import MOST_BYTES, SHORT
from tests.api import Api
from tests.rpc.callers import BEARER, SECONDS, call, serving

Code = grpc.StatusCode
HEALTH = "/grpc.health.v1.Health/Check"
METHODS = [f"/{SERVICE}/{name}" for name in ("OptimizeTopology", "UpdateClientPerformance", "GetTopologyStats")]


def raw(channel: grpc.aio.Channel) -> Any:
    """Give a channel whose calls take bytes, for which the library has no types."""
    return channel


async def ended(made: Any) -> tuple[grpc.StatusCode, str]:
    """Return the code and the message with which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await made
    return caught.value.code(), caught.value.details() or ""


@pytest.mark.parametrize("method", [*METHODS, HEALTH])
async def test_a_call_whose_message_does_not_come_is_ended(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(arrivals, "MESSAGE_SECONDS", 0.2)
    code, detail = await ended(raw(channel).stream_unary(method)(timeout=SECONDS))
    assert (code, "has to arrive within 0.2 s" in detail) == (Code.DEADLINE_EXCEEDED, True), detail


async def test_calls_without_messages_leave_places_for_others(api: Api, channel: grpc.aio.Channel) -> None:
    async with serving(api) as silent:
        held = [raw(silent).stream_unary(METHODS[0])() for _ in range(MOST_OF_ADDRESS + 10)]
        done, _ = await asyncio.wait([asyncio.ensure_future(ended(one)) for one in held], timeout=2)
        assert {task.result()[0] for task in done} == {Code.RESOURCE_EXHAUSTED}
        assert len(done) == 10
        for one in held:
            one.cancel()
        assert (await call(channel, "GetTopologyStats")).num_clients == 0
        await asyncio.sleep(0.2)
        assert (await call(silent, "GetTopologyStats")).num_clients == 0


@pytest.mark.parametrize("method", [*METHODS, HEALTH])
async def test_a_call_without_a_message_or_with_nonsense_is_refused(channel: grpc.aio.Channel, method: str) -> None:
    code, detail = await ended(raw(channel).unary_unary(method)(b"\xff\xff\xff", metadata=BEARER, timeout=SECONDS))
    assert (code, "the message " in detail) == (Code.INVALID_ARGUMENT, True), detail
    code, detail = await ended(raw(channel).stream_unary(method)(iter(()), metadata=BEARER, timeout=SECONDS))
    assert (code, "the call has no message" in detail) == (Code.INVALID_ARGUMENT, True), detail


@pytest.mark.parametrize("method", [*METHODS[1:], HEALTH])
async def test_a_long_message_of_a_short_method_is_refused_without_reading_it(
    channel: grpc.aio.Channel, method: str
) -> None:
    content = b"\x52\x00" * (SHORT // 2 + 1)
    code, detail = await ended(raw(channel).unary_unary(method)(content, metadata=BEARER, timeout=SECONDS))
    assert (code, "may have at most" in detail) == (Code.INVALID_ARGUMENT, True), detail


async def test_a_long_message_is_converted_only_for_those_who_may_call(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[Any] = []
    monkeypatch.setattr("app.rpc.service._converted", lambda *args: converted.append(args))
    content = b"\x52\x00" * (MOST_BYTES // 2 - 1)
    code, _ = await ended(raw(channel).unary_unary(METHODS[0])(content, timeout=SECONDS))
    assert code == Code.UNAUTHENTICATED
    assert converted == []


async def test_too_many_excluded_clients_are_refused_by_the_name_of_the_field(channel: grpc.aio.Channel) -> None:
    content = b"\x52\x00" * 100_001
    code, detail = await ended(raw(channel).unary_unary(METHODS[0])(content, metadata=BEARER, timeout=SECONDS))
    assert (code, "exclude" in detail) == (Code.INVALID_ARGUMENT, True), detail
