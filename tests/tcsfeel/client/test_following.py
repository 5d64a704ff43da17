"""What `wait` says at its timeout, with a clock that the test moves."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tcsfeel.client import NoAnswer, NotDone, following
from tcsfeel.contract.progress import ProgressOut
from tcsfeel.contract.trainings import TrainingOut
from tcsfeel.rest.exchange import Pause, Steps


def training(**fields: Any) -> TrainingOut:
    return TrainingOut.model_construct(**fields)


WAITING = ProgressOut(state="waiting", since=datetime(2026, 1, 1, tzinfo=UTC), reason="1 of 3 clients can be selected")
RUNNING = training(status="running", progress=None)
HELD_UP = training(status="running", progress=WAITING)
COMPLETED = training(status="completed", progress=None)


def waited(monkeypatch: pytest.MonkeyPatch, *read: TrainingOut | NoAnswer) -> str:
    """Wait for 2 s on a clock that moves on by the length of each pause, and by 2 s when there is no answer."""
    now = [100.0]
    answers = iter(read)

    def get_training(_training_id: str) -> Steps[TrainingOut]:
        yield Pause(0)
        found = next(answers)
        if isinstance(found, NoAnswer):
            now[0] += 2.0
            raise found
        return found

    def no_rounds(_training_id: str, _shown: int) -> Steps[tuple[()]]:
        yield Pause(0)
        now[0] += 2.0
        raise NoAnswer("http://plane failed")

    monkeypatch.setattr(following, "get_training", get_training)
    monkeypatch.setattr(following, "_ended", no_rounds)
    steps = following.wait(
        "t1", progress=(lambda _: None) if COMPLETED in read else None, timeout_seconds=2.0, poll_seconds=1.0
    )
    with pytest.raises(NotDone) as raised:
        _drive(steps, now)
    return str(raised.value)


def _drive(steps: Steps[TrainingOut], now: list[float]) -> None:
    step = next(steps)
    while True:
        assert isinstance(step, Pause)
        now[0] += step.seconds
        step = steps.send(now[0])


@pytest.mark.parametrize(
    ("read", "said"),
    [
        ([RUNNING, RUNNING, RUNNING], "the training t1 has not ended after 2 s: it is running"),
        (
            [RUNNING, HELD_UP, HELD_UP],
            "the training t1 has not ended after 2 s: it is running, and waiting: 1 of 3 clients can be selected",
        ),
        (
            [HELD_UP, NoAnswer("http://plane failed")],
            "the training t1 has not ended after 2 s: it is running, and waiting: 1 of 3 clients can be selected",
        ),
        ([NoAnswer("http://plane failed")], "the training t1 could not be read within 2 s"),
        ([COMPLETED], "the last rounds of the training t1, which is completed, could not be read within 2 s"),
    ],
)
def test_at_the_timeout_the_error_says_how_the_training_was_when_it_was_last_read(
    read: list[TrainingOut | NoAnswer], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert waited(monkeypatch, *read) == said
