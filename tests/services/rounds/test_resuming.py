"""A coordinator that dies at any point of a round, and its successor, which goes on from what is stored."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.services.rounds.ledger import RoundLedger
from app.store.tables import trainings
from tests.harnesses.faults import PLACES, STEPS
from tests.planes import Adder, Plane, plane, until
from tests.services.courses import is_driven_to_its_end
from tests.services.rounds.foreign import BOTH, STEP

pytestmark = pytest.mark.untraced

# Where the process dies: before or after one of the ledger's transactions.
POINTS = [(when, name) for name in STEPS for when in ("before", "after")]


class Killed(BaseException):
    """Stands for the process's death: nothing after it runs."""


@pytest.mark.parametrize(("when", "name"), POINTS)
async def test_a_round_survives_its_coordinator(
    database_url: str, tmp_path: Path, when: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = {"a": Adder(1.0), "b": Adder(3.0)}
    async with plane(tmp_path, database_url, trainers) as first:
        training_id = await first.create(max_rounds=2)
        await killed(first, training_id, monkeypatch, when, name)
        async with plane(tmp_path, database_url, trainers, host=first.host, register=False) as second:
            await until(lambda: is_driven_to_its_end(second, training_id))
            await _assert_as_if_nothing_had_been(second, training_id, step=2.0)  # (1 + 3) / 2


@pytest.mark.parametrize("lost", [False, True], ids=["same-machine", "another-machine"])
@pytest.mark.parametrize("point", [("after", "settled"), ("after", "frozen"), ("before", "committed")])
async def test_smaller_uploads_survive_their_coordinator(
    database_url: str, tmp_path: Path, point: tuple[str, str], lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = {"a": Adder(STEP), "b": Adder(3 * STEP)}
    async with plane(tmp_path, database_url, trainers) as first:
        training_id = await first.create(max_rounds=2, uploads=BOTH)
        await killed(first, training_id, monkeypatch, *point)
        if lost:
            shutil.rmtree(tmp_path / "spool")
        async with plane(tmp_path, database_url, trainers, host=first.host, register=False) as second:
            await until(lambda: is_driven_to_its_end(second, training_id))
            await _assert_as_if_nothing_had_been(second, training_id, step=2 * STEP)


NESTEROV = {"server_momentum": 0.9, "server_nesterov": True}


@pytest.mark.parametrize(
    ("point", "remembering"),
    [
        (("before", "committed"), {"aggregation": "fedadam"}),
        (("after", "committed"), {"aggregation": "fedadam"}),
        (("after", "frozen"), {"aggregation": "fedadam"}),
        (("before", "committed"), {"aggregation": "balanced", "hyperparameters": NESTEROV}),
    ],
)
async def test_what_a_server_optimiser_remembers_survives_its_coordinator(
    database_url: str,
    tmp_path: Path,
    point: tuple[str, str],
    remembering: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainers = {"a": Adder(1.0), "b": Adder(3.0)}
    async with plane(tmp_path, database_url, trainers) as first:
        undisturbed = await first.create(**remembering)
        for _ in range(3):
            await first.run_round(undisturbed)

        training_id = await first.create(**remembering, max_rounds=3)
        await first.run_round(training_id)
        await killed(first, training_id, monkeypatch, *point)
        async with plane(tmp_path, database_url, trainers, host=first.host, register=False) as second:
            await until(lambda: is_driven_to_its_end(second, training_id))
            for number in range(4):
                wanted = (await second.system.models.get(undisturbed, number)).version
                found = (await second.system.models.get(training_id, number)).version
                assert found.sha256 == wanted.sha256
            assert wanted.optimiser_state is not None
            assert found.optimiser_state == wanted.optimiser_state


async def test_a_round_is_abandoned_where_the_server_optimiser_has_lost_its_memory(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}) as running:
        training_id = await running.create(aggregation="fedyogi")
        await running.run_round(training_id)
        state = (await running.system.models.get(training_id, 1)).version.optimiser_state
        assert state is not None
        (running.system.settings.model_directory / state).unlink()
        round_ = await running.run_round(training_id)
        reason = f"the state of the server optimiser is missing: there is no model file {state!r}"
        assert (round_.status, round_.failure_reason) == ("abandoned", reason)


async def test_the_spool_is_empty_after_a_round(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder(1.0)}) as running:
        await running.run_round(await running.create())
        await until(lambda: _has_no_spool(running))


async def _has_no_spool(running: Plane) -> bool:
    return not list(running.system.housekeeper._files.spool_directory.iterdir())


async def killed(running: Plane, training_id: str, monkeypatch: pytest.MonkeyPatch, when: str, name: str) -> None:
    """Start a training, and let its owner "die" before or after a ledger transaction; its lease runs out."""
    with monkeypatch.context() as patch:
        died = _die(patch, when, name)
        await running.system.trainings.start(training_id)
        await until(lambda: _driven_to_death(running, died))
        await asyncio.sleep(0.05)  # what was under way at the agents comes to its end unseen
    async with running.system.db.begin() as tx:
        await tx.connection.execute(update(trainings).values(lease_until=0.0))


def _die(patch: pytest.MonkeyPatch, when: str, name: str) -> asyncio.Event:
    """Make the process "die" once, before or after a ledger transaction: then nothing is written any more."""
    died = asyncio.Event()
    owner, method = PLACES.get(name, (RoundLedger, name))
    original: Callable[..., Awaitable[Any]] = getattr(owner, method)

    async def dying(self: object, *args: Any, **kwargs: Any) -> Any:
        if when == "after" and not died.is_set():
            await original(self, *args, **kwargs)
        died.set()
        raise Killed

    async def dead(*_args: Any, **_kwargs: Any) -> Any:
        raise Killed

    for other in (*STEPS, "abandoned"):
        place, step = PLACES.get(other, (RoundLedger, other))
        guarded: Callable[..., Awaitable[Any]] = getattr(place, step)

        async def alive(
            self: object, *args: Any, _guarded: Callable[..., Awaitable[Any]] = guarded, **kwargs: Any
        ) -> Any:
            return await (dead() if died.is_set() else _guarded(self, *args, **kwargs))

        patch.setattr(place, step, dying if other == name else alive)
    patch.setattr("app.services.running.coordinator.Coordinator._release", dead)
    patch.setattr("app.services.rounds.participants.Participants.forget", lambda *_args: None)
    return died


async def _driven_to_death(running: Plane, died: asyncio.Event) -> bool:
    await running.drive()  # more than once: the lease of a round before may just be on its way back
    return died.is_set()


async def _assert_as_if_nothing_had_been(running: Plane, training_id: str, *, step: float) -> None:
    """Two rounds, each a `step` further with the updates of all, and no task trained twice."""
    assert [await running.weight(training_id, number) for number in range(3)] == [0.0, step, 2 * step]
    rounds = (await running.system.trainings.rounds(training_id, limit=10, before=None)).items
    assert [(round_.number, round_.status) for round_ in rounds] == [(2, "completed"), (1, "completed")]
    assert {part.status for round_ in rounds for part in round_.participations} == {"received"}
    assert {one.status for round_ in rounds for one in round_.evaluations} == {"received"}
    assert [len(round_.evaluations) for round_ in rounds] == [len(running.trainers)] * 2
    for trainer in running.trainers.values():
        assert set(trainer.fitted.values()) == {1}
        assert len(trainer.fitted) == 2
