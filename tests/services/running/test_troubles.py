"""Every state of a round with every trouble that does not pass: the training ends, and says what ended it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.domain.trainings import STOPPED
from app.services.rounds.files import RoundFiles
from app.services.rounds.planning import Planner
from app.services.rounds.record import TrackRecord
from app.store.model_store import StoreUnavailable
from tests.clocks import FakeClock, Sleeping
from tests.planes import Adder, Plane, plane, policy, until
from tests.services.courses import has_status, is_idle

pytestmark = pytest.mark.untraced

LONG = {"enabled": False, "tick_seconds": 0.05, "lease_seconds": 600}
WAIT_SECONDS = 100.0
STEPS: dict[str, tuple[type, str]] = {  # what each step cannot do without
    "selecting": (Planner, "select"),
    "training": (RoundFiles, "load"),
    "aggregating": (RoundFiles, "aggregate"),
    "evaluating": (RoundFiles, "measurement"),
}
TROUBLES: dict[str, Callable[[], Exception]] = {
    "passing": lambda: StoreUnavailable(28, "No space left on device"),
    "a bug": lambda: KeyError("of ours"),
    "no memory": lambda: MemoryError("of ours"),
}

NAMED = {
    "passing": ["No space left on device"],
    "a bug": ["KeyError", "of ours"],
    "no memory": ["MemoryError", "did not have the memory"],
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("status", STEPS)
async def test_a_trouble_that_does_not_pass_ends_the_training_with_its_reason(
    status: str, trouble: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(sleeping=Sleeping.LASTS)
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}, clock=clock, coordinator=LONG) as running:
        rules = policy(max_failed_rounds=1, max_wait_seconds=WAIT_SECONDS)
        training_id = await running.create(max_rounds=1, round_policy=rules)
        _plant(monkeypatch, status, TROUBLES[trouble])
        await running.system.trainings.start(training_id)
        await running.drive()
        await until(lambda: _stands_or_has_ended(running, training_id))
        clock.advance(WAIT_SECONDS)
        await until(lambda: _has_ended(running, training_id))

        training = await running.system.trainings.get(training_id)
        (round_,) = (await running.system.trainings.rounds(training_id, limit=10, before=None)).items
        assert (round_.status, training.status) in {("abandoned", "failed"), ("completed", "completed")}
        told = f"{round_.failure_reason} {[part.reason for part in round_.participations]} {round_.evaluations}"
        assert any(name in told for name in NAMED[trouble])
        assert training.fence == 1, "it did not go from owner to owner"
        assert (round_.status == "completed") == (status == "evaluating"), "a committed model stays"


async def test_a_round_that_cannot_even_be_given_up_stays_visible_with_its_owner(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("of ours")

    with capture_logs() as logs, monkeypatch.context() as planted:
        async with plane(tmp_path, database_url, {"a": Adder(1.0)}, coordinator=LONG) as running:
            training_id = await running.create(max_rounds=1, round_policy=policy(max_failed_rounds=1))
            planted.setattr(TrackRecord, "fairness", broken)  # every end of a round asks for it
            await running.system.trainings.start(training_id)
            await running.drive()
            await until(lambda: _told(logs, "an interruption could not be recorded"))
            training = await running.system.trainings.get(training_id)
            assert training.progress is not None
            assert (training.progress.state, training.progress.reason) == ("stalled", "KeyError: 'of ours'")
            planted.undo()
            await until(lambda: has_status(running, training_id, "completed"))
            await until(lambda: is_idle(running))
            assert (await running.system.trainings.get(training_id)).fence == 1


def _plant(monkeypatch: pytest.MonkeyPatch, status: str, problem: Callable[[], Exception]) -> None:
    """Plant a trouble that a step of the server meets each time."""
    owner, method = STEPS[status]

    def broken(*_: Any, **__: Any) -> None:
        raise problem()

    monkeypatch.setattr(owner, method, broken)


async def _has_ended(running: Plane, training_id: str) -> bool:
    return (await running.system.trainings.get(training_id)).status in STOPPED


async def _stands_or_has_ended(running: Plane, training_id: str) -> bool:
    training = await running.system.trainings.get(training_id)
    stands = training.progress is not None and training.progress.state == "stalled"
    return stands or training.status in STOPPED


async def _told(logs: list[Any], event: str) -> bool:
    return event in {entry["event"] for entry in logs}
