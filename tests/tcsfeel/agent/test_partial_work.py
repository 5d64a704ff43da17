"""Trainers that hand over a part of their work before the deadline."""

import math
from dataclasses import replace

import pytest

from tcsfeel.agent import FitResult, Parameters, Task, seconds_left
from tcsfeel.wire.codec import decode
from tcsfeel.wire.tasks import read_result
from tests.clocks import FakeClock
from tests.tcsfeel.agent.fakes import PARAMETERS, GatedTrainer, make_task
from tests.tcsfeel.agent.tables import table_of


@pytest.mark.parametrize("margin", [0.0, 100.0])
async def test_a_trainer_that_is_asked_for_it_hands_over_what_it_has_before_the_deadline(margin: float) -> None:
    clock, left = FakeClock(), list[float]()

    def train(parameters: Parameters, _task: Task) -> FitResult:
        steps = 0
        while steps < 10 and seconds_left() > 0:
            left.append(seconds_left())
            clock.advance(200.0)
            steps += 1
        return FitResult(parameters, 1, 0.5, num_steps=steps, asked_steps=10)

    trainer = GatedTrainer(train)
    trainer.gate.set()
    table = table_of(trainer, clock)
    entry = table.submit(replace(make_task(), partial_margin=margin), PARAMETERS)
    await entry.settled.wait()
    assert entry.payload is not None
    result = read_result(decode(b"".join(entry.payload))[1])
    if margin:
        assert left == [500.0, 300.0, 100.0]  # of 600 s
        assert (result.partial, result.num_steps, result.asked_steps) == (True, 3, 10)
    else:
        assert left == [math.inf] * 10
        assert (result.partial, result.num_steps, result.asked_steps) == (False, 10, None)


@pytest.mark.parametrize(
    ("margin", "steps", "asked", "reason"),
    [
        (0.0, 3, 10, "this task does not take a part of its work"),
        (9.0, 11, 10, "num_steps should be there with asked_steps, and at most as many"),
        (9.0, None, 10, "num_steps should be there with asked_steps"),
        (9.0, 1, 0, "asked_steps is 0: it should be greater than or equal to 1"),
    ],
)
async def test_a_part_that_cannot_count_fails_on_the_device(
    margin: float, steps: int | None, asked: int, reason: str
) -> None:
    trainer = GatedTrainer(lambda given, _task: FitResult(given, 1, 0.5, num_steps=steps, asked_steps=asked))
    trainer.gate.set()
    entry = table_of(trainer).submit(replace(make_task(), partial_margin=margin), PARAMETERS)
    await entry.settled.wait()
    assert (entry.state, reason in entry.failure) == ("failed", True), entry.failure
