"""Group commits: what comes while something is being written is written together, for those who still wait."""

import asyncio
from collections.abc import Sequence

import pytest

from app.services.rounds.batches import Batches


class Writer:
    """Writes as many batches as it may, and remembers them."""

    def __init__(self, may: int = 0) -> None:
        self.may = asyncio.Semaphore(may)
        self.begun: list[list[int]] = []
        self.written: list[list[int]] = []

    async def __call__(self, key: str, items: Sequence[int]) -> list[int]:
        del key
        self.begun.append(list(items))
        await self.may.acquire()
        if -1 in items:
            raise ValueError("no")
        self.written.append(list(items))
        return [10 * item for item in items]


def putting(batches: Batches[str, int, int], *items: int) -> list["asyncio.Task[int]"]:
    return [asyncio.create_task(batches.put("round", item)) for item in items]


async def passes() -> None:
    """Let everything go on that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_comes_meanwhile_is_written_together_and_each_gets_its_own_result() -> None:
    writer = Writer()
    tasks = putting(Batches(writer, limit=3), 1, 2, 3, 4, 5)
    await passes()
    assert writer.begun == [[1]]
    for _ in range(3):
        writer.may.release()
    assert await asyncio.gather(*tasks) == [10, 20, 30, 40, 50]
    assert writer.written == [[1], [2, 3, 4], [5]]


async def test_an_error_is_that_of_everybody_in_the_batch_and_of_nobody_else() -> None:
    tasks = putting(Batches(Writer(may=3), limit=2), 1, 2, -1, 3)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert (outcomes[0], outcomes[3]) == (10, 30)
    assert [str(outcome) for outcome in outcomes[1:3]] == ["no", "no"]


async def test_who_leaves_before_the_writing_is_not_written() -> None:
    writer = Writer()
    first, second, third = putting(Batches(writer, limit=9), 1, 2, 3)
    await passes()
    second.cancel()
    for _ in range(2):
        writer.may.release()
    assert [await first, await third] == [10, 30]
    assert writer.written == [[1], [3]]


async def test_who_leaves_during_the_writing_takes_nothing_from_the_others() -> None:
    writer = Writer(may=1)
    first, second, third = putting(Batches(writer, limit=9), 1, 2, 3)
    await first
    await passes()
    assert writer.begun == [[1], [2, 3]]
    second.cancel()
    await asyncio.wait([second])
    writer.may.release()
    assert await third == 30
    assert second.cancelled()


async def test_when_all_have_left_the_writing_is_called_off_and_has_ended_before_they_are_gone() -> None:
    writer = Writer()
    batches = Batches(writer, limit=9)
    tasks = putting(batches, 1, 2)
    await passes()
    for task in tasks:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    writer.may.release()
    await passes()
    assert writer.written == []
    assert await batches.put("round", 3) == 30


async def test_one_key_waits_for_no_other() -> None:
    writer = Writer(may=1)
    batches = Batches(writer, limit=9)
    first = asyncio.create_task(batches.put("a", 1))
    await first
    waiting = asyncio.create_task(batches.put("a", 2))
    await passes()
    other = asyncio.create_task(batches.put("b", 3))
    await passes()
    assert writer.begun == [[1], [2], [3]]
    for _ in range(2):
        writer.may.release()
    assert [await waiting, await other] == [20, 30]


async def test_items_wait_for_others_only_as_long_as_they_may() -> None:
    writer = Writer(may=9)
    asked: list[list[int]] = []

    def patience(key: str, items: Sequence[int]) -> float:
        assert key == "round"
        asked.append(list(items))
        return 0.0 if 3 in items else 3600.0

    batches = Batches(writer, limit=9, patience=patience)
    tasks = putting(batches, 1, 2)
    await passes()
    assert writer.begun == []
    tasks += putting(batches, 3)
    assert await asyncio.gather(*tasks) == [10, 20, 30]
    assert writer.written == [[1, 2, 3]]
    assert asked == [[1], [1, 2], [1, 2, 3]]


async def test_items_that_waited_for_long_enough_are_written() -> None:
    writer = Writer(may=9)
    batches = Batches(writer, limit=9, patience=lambda _key, _items: 0.01)
    assert await asyncio.gather(*putting(batches, 1, 2)) == [10, 20]
    assert writer.written == [[1, 2]]


async def test_a_full_batch_waits_for_nothing() -> None:
    writer = Writer(may=9)
    tasks = putting(Batches(writer, limit=2, patience=lambda _key, _items: 3600.0), 1, 2, 3)
    assert await asyncio.gather(*tasks[:2]) == [10, 20]
    assert writer.written == [[1, 2]]
    tasks[2].cancel()


async def test_who_hurries_gets_everything_written_that_waits_or_comes_meanwhile() -> None:
    writer = Writer()
    batches = Batches(writer, limit=9, patience=lambda _key, _items: 3600.0)
    tasks = putting(batches, 1)
    await passes()
    hurrying = asyncio.create_task(batches.hurry("round"))
    await passes()
    tasks += putting(batches, 2)
    await passes()
    assert writer.begun == [[1]]
    for _ in range(2):
        writer.may.release()
    await hurrying
    assert writer.written == [[1], [2]]
    assert all(task.done() for task in tasks)
    await batches.hurry("nobody has put anything here")


async def test_who_leaves_while_it_waits_for_others_is_not_written() -> None:
    writer = Writer(may=9)
    batches = Batches(writer, limit=9, patience=lambda _key, _items: 3600.0)
    first, second = putting(batches, 1, 2)
    await passes()
    first.cancel()
    await passes()
    await batches.hurry("round")
    assert writer.written == [[2]]
    assert await second == 20
