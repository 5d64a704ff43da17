"""Rounds, and the files that they leave: those that versions name, and those that are there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.composition import build
from app.services.system import System
from app.store.model_store import ModelStore
from tests.planes import Plane, settings

AT_ONCE: dict[str, Any] = {"removal_delay_seconds": 0.0}


async def rounds(plane: Plane, training_id: str, *steps: float) -> None:
    """One round for each step of the one trainer."""
    (trainer,) = plane.trainers.values()
    for step in steps:
        trainer.step = step
        await plane.run_round(training_id)


async def names(system: System, training_id: str) -> dict[int, str]:
    """The files of a training's versions that are kept, by round."""
    async with system.db.read() as tx:
        return {one.version.round: one.version.sha256 for one in await tx.models.kept(training_id)}


@asynccontextmanager
async def beside(one: Plane, directory: Path, database_url: str, **overrides: Any) -> AsyncIterator[System]:
    """Another server on the same database, which does nothing by itself."""
    other = build(settings(directory, database_url, **overrides), one.system.trainings._clock, None)
    try:
        yield other
    finally:
        await other.caller.close()
        await other.disconnect()


async def states(system: System, training_id: str) -> set[str]:
    async with system.db.read() as tx:
        kept = await tx.models.kept(training_id)
    return {one.version.optimiser_state for one in kept if one.version.optimiser_state is not None}


def stored(system: System) -> set[str]:
    """The names of the files that are there."""
    return set(ModelStore(system.settings.model_directory).names())


def removed_files(system: System) -> float | None:
    return system.metrics.registry.get_sample_value("federated_model_files_removed_total")
