"""Evaluations while they are under way: they are shown, stored as they come, and asked for no more than once."""

from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import update

from app.domain.rounds import Round
from app.services.rounds.ledger import RoundLedger
from app.store.tables import trainings
from tcsfeel.agent import EvaluateResult, Parameters, Task
from tests.planes import Adder, Plane, plane, until
from tests.services.courses import is_driven_to_its_end


class Slow(Adder):
    """Evaluates once the test lets it."""

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        result = super().evaluate(parameters, task)
        assert self.may_evaluate.wait(60)
        return result

    def __init__(self, step: float) -> None:
        super().__init__(step)
        self.may_evaluate = Event()


def statuses(round_: Round) -> dict[str, str]:
    return {one.client_id: one.status for one in round_.evaluations}


async def half_evaluated(running: Plane, training_id: str) -> Round:
    """The training's first round, once one of two evaluations has come."""
    found: list[Round] = []

    async def has_one() -> bool:
        found[:] = (await running.system.trainings.rounds(training_id, limit=1, before=None)).items
        return bool(found) and "received" in statuses(found[0]).values()

    await until(has_one)
    return found[0]


async def events_of(running: Plane, client_id: str) -> list[str]:
    async with running.system.db.read() as tx:
        events = (await tx.events.after(0, limit=1000)).items
    return [event.type for event in events if event.client_id == client_id and event.type.startswith("evaluation.")]


async def test_an_evaluation_is_shown_while_it_is_under_way_and_stored_when_it_comes(
    database_url: str, tmp_path: Path
) -> None:
    slow = Slow(1.0)
    trainers = {"quick": Adder(1.0), "slow": slow}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create()
        number = await running.system.trainings.run_round(training_id)
        await running.drive()
        round_ = await half_evaluated(running, training_id)
        assert (round_.status, statuses(round_)) == ("evaluating", {"quick": "received", "slow": "training"})
        quick = round_.evaluations[0]
        assert (quick.num_examples, quick.attempts, quick.metrics) == (10, 1, {"accuracy": 0.1})
        assert await events_of(running, "quick") == ["evaluation.received"]
        assert round_.metrics == {}, "the round is not measured yet"
        slow.may_evaluate.set()
        round_ = await running.ended(training_id, number)
        assert (round_.status, statuses(round_)) == ("completed", {"quick": "received", "slow": "received"})
        assert round_.metrics["loss"].clients == 2
        assert await events_of(running, "quick") == ["evaluation.received"]


async def test_the_next_owner_keeps_what_has_come_and_polls_the_rest(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(1.0)
    trainers = {"quick": Adder(1.0), "slow": slow}
    async with plane(tmp_path, database_url, trainers) as first:
        training_id = await first.create(max_rounds=1)
        with monkeypatch.context() as patch:
            patch.setattr("app.services.running.coordinator.Coordinator._release", _nothing)
            await first.system.trainings.start(training_id)
            await first.drive()
            await half_evaluated(first, training_id)
            patch.setattr(RoundLedger, "settled", _dead)
            patch.setattr(RoundLedger, "evaluated", _dead)
            patch.setattr("app.services.rounds.participants.Participants.forget", lambda *_args: None)
            slow.may_evaluate.set()
            await until(lambda: _stopped(first))
        first.host.remove("quick")  # asked again, it would fail
        async with first.system.db.begin() as tx:
            await tx.connection.execute(update(trainings).values(lease_until=0.0))
        async with plane(tmp_path, database_url, trainers, host=first.host, register=False) as second:
            await until(lambda: is_driven_to_its_end(second, training_id))
            round_ = await second.round(training_id, 1)
            assert (round_.status, statuses(round_)) == ("completed", {"quick": "received", "slow": "received"})
            assert round_.metrics["loss"].clients == 2
            assert set(trainers["slow"].evaluated.values()) == {1}
            for client_id in trainers:
                assert await events_of(second, client_id) == ["evaluation.received"]


async def test_a_paused_evaluation_goes_on_and_a_client_that_was_removed_has_failed(
    database_url: str, tmp_path: Path
) -> None:
    slow = Slow(1.0)
    trainers = {"quick": Adder(1.0), "slow": slow}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create(max_rounds=1)
        await running.system.trainings.start(training_id)
        await running.drive()
        await half_evaluated(running, training_id)
        await running.system.trainings.pause(training_id)
        await until(lambda: _stopped(running))
        round_ = await running.round(training_id, 1)
        assert (round_.status, statuses(round_)) == ("evaluating", {"quick": "received", "slow": "training"})
        await running.system.clients.remove("slow")
        await running.system.trainings.start(training_id)
        await until(lambda: is_driven_to_its_end(running, training_id))
        round_ = await running.round(training_id, 1)
        assert statuses(round_) == {"quick": "received", "slow": "failed"}
        assert round_.evaluations[1].reason == "the client was removed"
        slow.may_evaluate.set()


async def _nothing(*_args: object, **_kwargs: object) -> None:
    pass


class _Killed(BaseException):
    """Stands for the death of a process: nothing after it runs."""


async def _dead(*_args: object, **_kwargs: object) -> None:
    raise _Killed


async def _stopped(running: Plane) -> bool:
    return not running.system.coordinator._driving
