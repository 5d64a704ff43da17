"""Looks that follow hints."""

import asyncio

import pytest
from structlog.testing import capture_logs

from app.services.tasks.hints import GAP_SECONDS, Hints, gap_after
from app.store.availability import DatabaseUnavailable

LONG = 3600.0


async def test_a_look_follows_a_hint_and_hints_during_a_look_count_as_one() -> None:
    hints, looks = Hints(), 0
    second = asyncio.Event()

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            for _ in range(3):
                hints.give()
        else:
            second.set()

    following = asyncio.create_task(hints.follow(look, LONG))
    hints.give()
    await asyncio.wait_for(second.wait(), 10)
    await asyncio.sleep(0)
    assert looks == 2
    following.cancel()


def test_looks_that_take_long_are_rare() -> None:
    assert gap_after(0.0001) == GAP_SECONDS
    assert gap_after(0.1) == pytest.approx(0.3)


async def test_a_look_comes_without_a_hint_and_after_a_failure() -> None:
    hints, looks = Hints(), 0
    third = asyncio.Event()

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise DatabaseUnavailable("gone")
        if looks == 2:
            raise RuntimeError("a mistake")
        third.set()

    with capture_logs() as logs:
        following = asyncio.create_task(hints.follow(look, 0.001))
        await asyncio.wait_for(third.wait(), 10)
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["the mailbox could not be read"]
    following.cancel()
