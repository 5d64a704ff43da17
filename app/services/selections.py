"""Planning one round without storing anything."""

import time
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from app.domain.selection.types import History, Selection, SelectionPolicy
from app.services.planning import Planner
from app.store.database import Database


@dataclass(frozen=True, slots=True)
class PlannedSelection:
    """A selection, the version of the matrix that it saw, and how long it took (ms)."""

    selection: Selection
    connectivity_version: int
    duration_ms: float


class Selections:
    def __init__(self, db: Database, planner: Planner) -> None:
        self._db = db
        self._planner = planner

    async def plan(
        self, strategy: str, policy: SelectionPolicy, *, seed: int, round_number: int, exclude: Collection[str]
    ) -> PlannedSelection:
        """Select over the fleet as it is; the same seed, round number and state give the same answer.

        Raises:
            UnknownStrategy, NotEnoughClients, BudgetTooSmall.
        """
        async with self._db.read() as tx:
            fleet = await self._planner.fleet(tx, exclude=exclude)
        drawn = int(np.random.SeedSequence([seed, round_number]).generate_state(1)[0])
        started = time.perf_counter()
        selection = await self._planner.select(fleet, strategy, History(), policy, drawn)
        return PlannedSelection(selection, fleet.connectivity.version, (time.perf_counter() - started) * 1000)
