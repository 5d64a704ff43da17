"""Encoded updates of an agent, and what rounding lost: kept for the training's next update, and not for ever."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tcsfeel.agent import FitResult, Parameters, Task
from tcsfeel.agent.entries import Entry
from tcsfeel.agent.feedback import TRAININGS, Feedback
from tcsfeel.agent.tasks import RETENTION_SECONDS, TaskTable
from tcsfeel.wire.codec import decode
from tcsfeel.wire.tasks import read_encoding
from tests.clocks import FakeClock
from tests.tcsfeel.agent.fakes import AddingTrainer, GatedTrainer, eventually, make_task
from tests.tcsfeel.agent.tables import table_of

BASE: Parameters = {"w": np.zeros(2, np.float32), "n": np.array([1])}


class Moving(AddingTrainer):
    """Moves the first weight by 127, which makes a step of 1, and the second by what the test says, 0.4 at first."""

    def __init__(self) -> None:
        self.second = 0.4

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        del task
        return FitResult({**parameters, "w": parameters["w"] + np.array([127, self.second])}, 2, 0.5, 0.75)


async def fit(table: TaskTable, task_id: str, encoding: str = "int8", model: Parameters = BASE) -> Mapping[str, Any]:
    table.submit(make_task(task_id, update_encoding=encoding), model)
    return await result(table, task_id)


async def result(table: TaskTable, task_id: str) -> Mapping[str, Any]:
    entry = await table.wait(task_id, 20)
    assert isinstance(entry, Entry)
    assert entry.payload is not None
    parameters, metadata = decode(b"".join(entry.payload))
    return {**parameters, "encoding": read_encoding(metadata).name}


async def test_what_one_round_loses_the_next_one_adds() -> None:
    table = table_of(Moving())
    rounds = [(await fit(table, f"t.{number}.c.fit"))["w"].tolist() for number in range(1, 6)]
    # 0.4, 0.8, then 1.2 - 1 = 0.2, 0.6, then 1.0 - 1 = 0: rounded 0, 1, 0, 1, 0
    assert rounds == [[127, 0], [127, 1], [127, 0], [127, 1], [127, 0]]


async def test_another_training_has_losses_of_its_own() -> None:
    table = table_of(Moving())
    assert [(await fit(table, f"{name}.1.c.fit"))["w"][1] for name in "ab"] == [0, 0]
    assert [(await fit(table, f"{name}.2.c.fit"))["w"][1] for name in "ab"] == [1, 1]


async def test_a_repeated_task_encodes_once() -> None:
    table = table_of(Moving())
    first = await fit(table, "t.1.c.fit")
    payload = getattr(table.find("t.1.c.fit"), "payload", None)
    assert (await fit(table, "t.1.c.fit"))["w"].tolist() == first["w"].tolist()
    assert getattr(table.find("t.1.c.fit"), "payload", None) is payload
    assert (await fit(table, "t.2.c.fit"))["w"][1] == 1, "0.4 twice: it was lost once, and added once"


async def test_a_cancelled_task_and_a_failed_one_lose_nothing() -> None:
    table = table_of(Moving())
    await fit(table, "t.1.c.fit")

    gated = GatedTrainer(Moving().fit)
    table._trainer = gated
    table.submit(make_task("t.2.c.fit", update_encoding="int8"), BASE)
    await eventually(gated.started.is_set)
    table.delete("t.2.c.fit")
    gated.gate.set()
    await eventually(lambda: table.find("t.2.c.fit") is None)

    table._trainer = AddingTrainer()
    table.submit(make_task("t.3.c.fit", update_encoding="int8"), {"w": np.array(["text"])})
    assert getattr(await table.wait("t.3.c.fit", 20), "state", "") == "failed"

    table._trainer = Moving()
    assert (await fit(table, "t.4.c.fit"))["w"][1] == 1, "0.4 of the first and 0.4 of the fourth"


@pytest.mark.parametrize("offer", ["full", "int4"])
async def test_where_nothing_known_is_offered_the_update_is_in_full(offer: str) -> None:
    sent = await fit(table_of(Moving()), "t.1.c.fit", offer)
    assert sent["encoding"] == "full"
    np.testing.assert_array_equal(sent["w"], np.array([127, 0.4], np.float32))


async def test_an_update_that_diverged_travels_in_full_and_the_loss_before_it_stays() -> None:
    trainer = Moving()
    table = table_of(trainer)
    await fit(table, "t.1.c.fit")
    trainer.second = float("nan")
    sent = await fit(table, "t.2.c.fit")
    assert sent["encoding"] == "full"
    assert np.isnan(sent["w"][1])
    trainer.second = 0.4
    assert (await fit(table, "t.3.c.fit"))["w"][1] == 1


async def test_a_model_of_another_shape_starts_anew() -> None:
    table = table_of(Moving())
    await fit(table, "t.1.c.fit")
    wider = {"w": np.zeros((1, 2), np.float32), "n": BASE["n"]}
    assert (await fit(table, "t.2.c.fit", model=wider))["w"].tolist() == [[127, 0]]
    assert (await fit(table, "t.3.c.fit", model=wider))["w"].tolist() == [[127, 1]]


async def test_losses_are_dropped_an_hour_after_the_deadline_and_not_before() -> None:
    clock = FakeClock()
    table = table_of(Moving(), clock)
    await fit(table, "t.1.c.fit")
    table.delete("t.1.c.fit")
    clock.advance(600 + RETENTION_SECONDS - 1)
    table.find("anything")
    assert len(table._feedback) == 1
    clock.advance(1)
    table.find("anything")
    assert len(table._feedback) == 0
    assert (await fit(table, "t.2.c.fit"))["w"][1] == 0


def test_only_the_last_trainings_are_kept() -> None:
    kept = Feedback(FakeClock().now)
    lost = {"w": np.zeros(2, np.float32)}
    for number in range(TRAININGS):
        kept.keep(f"t{number}", lost, 1e9)
    kept.keep("t0", lost, 1e9)  # is the newest now
    kept.keep("more", lost, 1e9)
    found = [
        number
        for number in range(TRAININGS)
        if kept.of(make_task(f"t{number}.1.c.fit", update_encoding="int8"), BASE) is lost
    ]
    assert (len(kept), found) == (TRAININGS, [0, *range(2, TRAININGS)])


async def test_an_evaluation_says_nothing_of_encodings() -> None:
    table = table_of(Moving())
    table.submit(make_task("t.1.c.evaluate", kind="evaluate", update_encoding="int8"), BASE)
    entry = await table.wait("t.1.c.evaluate", 20)
    assert entry is not None
    assert entry.payload is not None
    header = json.loads(entry.payload[0][8:])
    assert header["__metadata__"].keys() == {"result"}
