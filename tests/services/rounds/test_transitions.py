"""Steps that several transactions can take: what is stored with them, and what their owner knows afterwards.

Covers: app.services.rounds.phases, app.services.rounds.evaluating, app.services.rounds.progress
"""

from dataclasses import replace
from pathlib import Path

from app.domain.rounds import Participation
from app.services.rounds.evaluating import summed_up
from app.store.model_store import StoredFile
from tests.services.rounds.owners import owner

NEW = StoredFile("1" * 64, 8)


async def test_updates_are_fixed_only_if_there_is_a_quorum(sqlite_url: str, tmp_path: Path) -> None:
    async with owner(tmp_path, sqlite_url, {"a": "received", "b": "failed"}) as value:
        steps = value.engine._ledger._transitions
        known = value.engine._ledger.known(value.lease)
        async with value.engine._ledger._owned.begin(value.lease) as tx:
            failed = tuple(replace(part, status="failed") for part in value.round_.participations)
            assert await steps.freeze_if_enough(tx, value.lease, replace(value.round_, participations=failed)) is None
            frozen = await steps.freeze(tx, value.lease, value.round_)
        assert (await value.stored()).status == frozen.status == "aggregating"
        assert known.since is not None


async def test_a_round_ends_and_the_next_one_begins_together(sqlite_url: str, tmp_path: Path) -> None:
    async with owner(tmp_path, sqlite_url, {"a": "received"}, status="evaluating") as value:
        ledger = value.engine._ledger
        async with ledger._owned.begin(value.lease) as tx:
            training = await tx.trainings.get("t")
            await ledger._progress.report(tx, training, training)
            ended = await ledger._transitions.close(tx, value.lease, value.round_, "measured", training)
        assert ledger._transitions.ended(value.lease, ended).status == "completed"
        known = ledger.known(value.lease)
        assert known.opened is not None
        assert (known.closed, known.opened.number, known.training.current_round) == (1, 2, 2)


async def test_a_round_without_evaluations_ends_at_once(sqlite_url: str, tmp_path: Path) -> None:
    async with owner(tmp_path, sqlite_url, {"a": "received"}, status="evaluating") as value:
        async with value.system.db.read() as tx:
            training = await tx.trainings.get("t")
        config = replace(training.config, evaluation_clients=0)
        ended = await value.engine._evaluating.evaluate(value.lease, replace(training, config=config), value.round_)
        assert (ended.status, (await value.stored()).status) == ("completed", "completed")
        many = tuple(Participation(client_id=f"c{number}", status="failed") for number in range(600))
        few = await summed_up(value.round_, config)
        assert (
            await summed_up(replace(value.round_, evaluations=many), config)
        ).training_metrics == few.training_metrics


async def test_clients_of_a_round_are_read_once(sqlite_url: str, tmp_path: Path) -> None:
    async with owner(tmp_path, sqlite_url, {"a": "training", "b": "training"}) as value:
        phases = value.engine._phases
        value.engine._ledger.known(value.lease).begin(1)
        first = await phases.clients(value.lease, ["a", "nobody"])
        assert list(first) == ["a"]
        assert (await phases.clients(value.lease, ["a"]))["a"] is first["a"]
        assert callable(phases.begin)
