"""Plan one round without storing anything, and read the selections of rounds that were planned."""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.services.rounds.planning import Planner, StrategyOverdue
from app.store.database import Database
from app.store.selections import unpacked
from app.threads import in_thread
from tcsfeel.selection.types import History, Selection, SelectionPolicy

PATIENCE = 60.0  # seconds for a strategy


@dataclass(frozen=True, slots=True)
class Planned:
    """Selections, each with the time that it took (ms), and the version of the matrix that they used."""

    selections: tuple[tuple[Selection, float], ...]
    connectivity_version: int


class Selections:
    """Use cases around selections. Nothing is stored. A strategy has `patience` seconds, by the machine's clock."""

    def __init__(self, db: Database, planner: Planner, *, patience: float = PATIENCE) -> None:
        self._db = db
        self._planner = planner
        self._patience = patience

    async def plan(
        self,
        strategy: str,
        policy: SelectionPolicy,
        *,
        seed: int,
        round_number: int,
        exclude: Collection[str],
        compare: Sequence[str] = (),
    ) -> Planned:
        """Select over the fleet as it is; the same seed, round number and state give the same answer.

        The first selection is that of `strategy`. The others are those that the strategies in `compare` make from the
        same fleet, each with its default parameters.

        Raises:
            UnknownStrategy, NotEnoughClients, BudgetTooSmall, StrategyFailed.
            StrategyOverdue: a strategy did not end in time, or there was no thread for it.
        """
        async with self._db.read() as tx:
            fleet = await self._planner.fleet(tx, exclude=exclude)
        drawn = int(np.random.SeedSequence([seed, round_number]).generate_state(1)[0])
        planned = []
        for name, its in [(strategy, policy), *((other, replace(policy, parameters={})) for other in compare)]:
            started = time.perf_counter()
            try:
                async with asyncio.timeout(self._patience):
                    selection = await self._planner.select(fleet, name, History(), its, drawn)
            except TimeoutError:
                raise StrategyOverdue(name, f"did not end within {self._patience:g} s") from None
            took = (time.perf_counter() - started) * 1000
            planned.append((selection, took))
        return Planned(tuple(planned), fleet.connectivity.version)

    async def of_round(self, training_id: str, number: int) -> Selection:
        """Read the selection of a round. Raises `NotFound` if the round does not exist or is not planned."""
        async with self._db.read() as tx:
            await tx.rounds.get(training_id, number)
            document = await tx.selections.get(training_id, number)
        return await in_thread("administration", unpacked, document)
