"""The task table: at most one training for each id, results that stay, and endings in every order."""

import asyncio
import math
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tcsfeel.agent import FitResult, Parameters, Task, seconds_left, task_cancelled
from tcsfeel.agent.entries import TRANSITIONS
from tcsfeel.agent.tasks import COUNTED_IDS
from tcsfeel.wire.codec import decode
from tcsfeel.wire.tasks import read_result
from tests.clocks import FakeClock
from tests.tcsfeel.agent.fakes import (
    PARAMETERS,
    AddingTrainer,
    GatedTrainer,
    RaisingTrainer,
    eventually,
    make_task,
)
from tests.tcsfeel.agent.tables import ID, settled, table_of


async def test_a_fit_is_done_off_the_loop_and_its_result_kept() -> None:
    threads: list[threading.Thread] = []

    def train(parameters: Parameters, _task: Task) -> FitResult:
        threads.append(threading.current_thread())
        return FitResult(parameters, 7, 1, 0)

    trainer = GatedTrainer(train)
    table = table_of(trainer)
    running = table.submit(make_task(), PARAMETERS)
    assert running.payload is None
    trainer.gate.set()
    entry = await settled(table)

    assert entry is running
    assert entry.state == "done"
    assert entry.payload is not None
    parameters, metadata = decode(b"".join(entry.payload))
    np.testing.assert_array_equal(parameters["w"], PARAMETERS["w"])
    assert read_result(metadata).num_examples == 7
    assert threads[0] is not threading.current_thread()
    assert table.find(ID) is entry


async def test_a_repeat_never_trains_twice_while_it_runs_nor_when_it_is_done() -> None:
    trainer = GatedTrainer()
    table = table_of(trainer)

    first = table.submit(make_task(), PARAMETERS)
    await eventually(trainer.started.is_set)
    assert table.submit(make_task(), PARAMETERS) is first
    trainer.gate.set()
    await settled(table)
    assert table.submit(make_task(), PARAMETERS) is first
    await settled(table)

    assert table.trained == {ID: 1}
    assert trainer.order == [ID]


async def test_a_repeat_of_a_failed_task_does_not_train_again() -> None:
    table = table_of(RaisingTrainer(ValueError("no data")))

    table.submit(make_task(), PARAMETERS)
    first = await settled(table)
    again = table.submit(make_task(), PARAMETERS)

    assert again is first
    assert again.state == "failed"
    assert table.trained == {ID: 1}


async def test_a_deleted_task_is_new_work_when_it_comes_again() -> None:
    table = table_of(AddingTrainer())

    table.submit(make_task(), PARAMETERS)
    await settled(table)
    table.delete(ID)
    assert table.find(ID) is None
    table.submit(make_task(), PARAMETERS)
    await settled(table)

    assert table.trained == {ID: 2}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bad\n  shape"), "ValueError: bad shape"),
        (RuntimeError("x" * 1000), "RuntimeError: " + "x" * 286),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt:"),
    ],
)
async def test_whatever_a_trainer_raises_fails_its_task_and_nothing_else(error: BaseException, reason: str) -> None:
    table = table_of(RaisingTrainer(error))

    table.submit(make_task(), PARAMETERS)
    entry = await settled(table)

    assert entry.state == "failed"
    assert entry.failure is not None
    told, place = entry.failure.rsplit(" (", 1)
    assert told == reason
    assert re.fullmatch(r"fakes\.py:\d+ in fit\)", place)


async def test_an_error_says_where_it_was_raised_and_not_where_that_lies_on_the_device(tmp_path: Path) -> None:
    file = tmp_path / "private" / "model.py"
    file.parent.mkdir()
    file.write_text(
        "def load():\n    1 / 0\ndef batch():\n    load()\ndef epoch():\n    batch()\ndef train(*_):\n    epoch()\n"
    )
    found: dict[str, Any] = {}
    exec(compile(file.read_text(), file, "exec"), found)  # noqa: S102  (a module that no other test can import)
    trainer = GatedTrainer(found["train"])
    trainer.gate.set()
    table = table_of(trainer)

    table.submit(make_task(), PARAMETERS)
    entry = await settled(table)

    place = "model.py:6 in epoch, model.py:4 in batch, model.py:2 in load"
    assert entry.failure == f"ZeroDivisionError: division by zero ({place})"


async def test_deleting_a_running_task_discards_its_result_and_forgets_it_when_the_thread_returns() -> None:
    noticed: list[bool] = []

    def train(parameters: Parameters, _task: Task) -> FitResult:
        noticed.append(task_cancelled())
        return FitResult(parameters, 1, 0, 0)

    trainer = GatedTrainer(train)
    table = table_of(trainer)
    entry = table.submit(make_task(), PARAMETERS)
    await eventually(trainer.started.is_set)

    waiting = asyncio.create_task(settled(table))
    await asyncio.sleep(0)
    table.delete(ID)
    assert (await waiting).state == "cancelled"
    assert table.find(ID) is entry
    table.delete(ID)
    assert table.find(ID) is entry

    trainer.gate.set()
    await eventually(lambda: table.find(ID) is None)
    assert noticed == [True]
    assert entry.payload is None


async def test_a_task_handed_over_again_while_the_old_thread_winds_down_is_trained_after_it() -> None:
    results = iter([FitResult(PARAMETERS, 111, 0, 0), FitResult(PARAMETERS, 222, 0, 0)])
    wanted: list[bool] = []

    def train(_parameters: Parameters, _task: Task) -> FitResult:
        wanted.append(not task_cancelled())
        return next(results)

    trainer = GatedTrainer(train)
    table = table_of(trainer)
    old = table.submit(make_task(), PARAMETERS)
    await eventually(trainer.started.is_set)
    table.delete(ID)
    new = table.submit(make_task(), PARAMETERS)
    assert new is not old

    trainer.gate.set()
    assert await settled(table) is new
    assert new.payload is not None
    assert read_result(decode(b"".join(new.payload))[1]).num_examples == 222
    assert wanted == [False, True]
    assert table.find(ID) is new


async def test_an_agent_trains_one_task_at_a_time_in_the_order_of_arrival() -> None:
    trainer = GatedTrainer()
    table = table_of(trainer)
    for name in "abc":
        table.submit(make_task(name), PARAMETERS)
    await eventually(trainer.started.is_set)
    await asyncio.sleep(0.01)
    assert trainer.order == ["a"]

    table.delete("b")
    trainer.gate.set()
    await settled(table, "c")

    assert trainer.order == ["a", "c"]
    assert table.trained == {"a": 1, "c": 1}
    await eventually(lambda: table.find("b") is None)


async def test_a_result_is_dropped_an_hour_after_the_deadline_and_not_before() -> None:
    clock = FakeClock()
    table = table_of(AddingTrainer(), clock)
    table.submit(make_task(deadline_seconds=600), PARAMETERS)
    await settled(table)

    clock.advance(600 + 3600 - 1)
    assert table.find(ID) is not None
    clock.advance(1)
    assert table.find(ID) is None
    assert len(table) == 0


async def test_a_task_that_still_runs_an_hour_after_its_deadline_is_cancelled() -> None:
    clock = FakeClock()
    trainer = GatedTrainer()
    table = table_of(trainer, clock)
    entry = table.submit(make_task(deadline_seconds=1), PARAMETERS)
    await eventually(trainer.started.is_set)

    clock.advance(3601)
    table.expire()
    assert entry.state == "cancelled"
    trainer.gate.set()
    await eventually(lambda: len(table) == 0)


async def test_a_wait_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)
    trainer = GatedTrainer()
    table = table_of(trainer)
    entry = table.submit(make_task(), PARAMETERS)
    waiting = asyncio.create_task(table.wait(ID, 1000))
    await eventually(trainer.started.is_set)

    ahead = 900
    await asyncio.sleep(0.001)
    assert not waiting.done()
    ahead = 1001
    await asyncio.sleep(0.001)
    assert waiting.done()
    assert await waiting is entry
    assert entry.state == "running"
    trainer.gate.set()


async def test_closing_lets_all_who_wait_go_and_tells_the_trainer() -> None:
    noticed: list[bool] = []

    def train(parameters: Parameters, _task: Task) -> FitResult:
        noticed.append(task_cancelled())
        return FitResult(parameters, 1, 0, 0)

    trainer = GatedTrainer(train)
    table = table_of(trainer)
    table.submit(make_task("a"), PARAMETERS)
    table.submit(make_task("b"), PARAMETERS)
    waiting = asyncio.create_task(settled(table, "b"))
    await eventually(trainer.started.is_set)

    table.close()
    assert (await waiting).state == "running"
    assert (await settled(table, "a")).state == "running"
    trainer.gate.set()
    await eventually(lambda: noticed)
    await asyncio.sleep(0.01)
    assert noticed == [True]
    assert trainer.order == ["a"]


async def test_the_count_of_trainings_does_not_grow_for_ever() -> None:
    table = table_of(AddingTrainer())

    for number in range(COUNTED_IDS + 3):
        table._count(str(number))

    assert len(table.trained) == COUNTED_IDS
    assert "2" not in table.trained
    assert table.trained["3"] == 1


def test_every_state_has_an_answer_to_every_event_that_can_meet_it() -> None:
    """A finished task's thread is over: only a deletion can meet it. Parameters get lost before it begins."""
    assert set(TRANSITIONS) == {
        *((state, event) for state in ("running", "cancelled") for event in ("returned", "raised", "deleted", "lost")),
        ("done", "deleted"),
        ("failed", "deleted"),
        ("lost", "deleted"),
    }


def test_nothing_is_cancelled_or_short_of_time_outside_a_task() -> None:
    assert not task_cancelled()
    assert seconds_left() == math.inf
