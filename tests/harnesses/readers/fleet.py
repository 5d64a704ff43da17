"""Run the agents in a process of their own, so that neither readers nor receivers hold their answers up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tcsfeel.agent import FitResult, Parameters, Task, hosting
from tests.forking import fork, settle_in
from tests.harnesses.api import Api
from tests.harnesses.fleet import Learner
from tests.harnesses.strategies import client_id

LOOK_SECONDS = 0.05
PATIENCE = 120.0


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What the process of the agents needs: how many there are, and how long each of them trains."""

    agents: int
    fit_seconds: float
    server_url: str
    key: str
    log: Path


class Steady(Learner):
    """Takes the same time in every round, so that rounds can be compared."""

    def __init__(self, number: int, *, seconds: float) -> None:
        super().__init__(number, seconds=0.0)
        self._fit_seconds = seconds

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        time.sleep(self._fit_seconds)
        return super().fit(parameters, task)


@asynccontextmanager
async def present(fleet: Fleet, api: Api) -> AsyncIterator[None]:
    """Run the agents in the block, which begins when all of them have registered."""
    process = fork(_live, fleet)
    try:
        async with asyncio.timeout(PATIENCE):
            while len((await api.call("GET", "/v1/clients", params={"limit": 1000}))["items"]) < fleet.agents:  # noqa: ASYNC110  (nobody tells)
                await asyncio.sleep(LOOK_SECONDS)
        yield
    finally:
        process.kill()
        process.join()
        process.close()


def _live(fleet: Fleet) -> None:
    """Be the agents until a signal ends the process."""
    settle_in(fleet.log, {})
    asyncio.run(_serve(fleet))


async def _serve(fleet: Fleet) -> None:
    trainers = {client_id("a", number): Steady(number, seconds=fleet.fit_seconds) for number in range(fleet.agents)}
    url, threads = fleet.server_url, fleet.agents
    async with hosting(trainers, server_url=url, api_key=fleet.key, heartbeat_seconds=3600, threads=threads):
        await asyncio.Event().wait()
