"""Run agents that a harness kills: each is a process of its own, and is started again at once."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tcsfeel.agent import hosting
from tests.forking import fork, settle_in
from tests.harnesses.api import Api
from tests.harnesses.explained import Absence
from tests.harnesses.fleet import Learner

LOOK_SECONDS = 0.05
PATIENCE = 120.0
THERE = "there"  # the end of the name of a file that a device makes when it has registered


@dataclass(frozen=True, kw_only=True)
class Life:
    """What a process needs to become a device. With an `invite` it asks for its tasks, else it is called."""

    client_id: str
    number: int
    seconds: float
    directory: Path
    server_url: str
    key: str
    invite: str | None
    life: int = 0

    @property
    def there(self) -> Path:
        return self.directory / f"{self.client_id}.{self.life}.{THERE}"


def live(life: Life) -> None:
    """Be a device until a signal ends it."""
    settle_in(life.directory / f"{life.client_id}.log", {})
    asyncio.run(_serve(life))


async def _serve(life: Life) -> None:
    trainers = {life.client_id: Learner(life.number, seconds=life.seconds)}
    async with hosting(
        trainers,
        server_url=life.server_url,
        api_key=None if life.invite else life.key,
        invite=life.invite,
        state=life.directory / "state",
        pull=life.invite is not None,
        relay=life.invite is None,
        heartbeat_seconds=3600,
    ):
        life.there.touch()
        await asyncio.Event().wait()


class Devices:
    """Agents by client id."""

    def __init__(self, lives: list[Life]) -> None:
        self._lives = {life.client_id: life for life in lives}
        self._processes: dict[str, ForkServerProcess] = {}
        self._killed: list[tuple[float, Life]] = []  # when, and the life that has begun after it

    @property
    def absences(self) -> list[Absence]:
        """When which agents were killed, and were there again."""
        return [
            Absence(life.client_id, since, life.there.stat().st_mtime if life.there.exists() else math.inf)
            for since, life in self._killed
        ]

    async def trouble(self, rng: random.Random, pause: float) -> None:
        """Kill devices at random times, `pause` seconds apart on average, until cancelled."""
        while True:
            await asyncio.sleep(rng.uniform(0, 2 * pause))
            client_id = rng.choice(sorted(self._lives))
            if self._lives[client_id].there.exists():
                self.kill(client_id)

    def kill(self, client_id: str) -> None:
        """Kill a device, and start it again."""
        since = time.time()
        self._end(client_id)
        life = self._lives[client_id] = replace(self._lives[client_id], life=self._lives[client_id].life + 1)
        self._killed.append((since, life))
        self._start(client_id)

    @asynccontextmanager
    async def running(self, api: Api) -> AsyncIterator[None]:
        """Run the devices in the block. Breakers that open because one is away are closed, as an operator would."""
        watching: asyncio.Task[None] | None = None
        try:
            for client_id in self._lives:
                self._start(client_id)
            async with asyncio.timeout(PATIENCE):
                while not all(life.there.exists() for life in self._lives.values()):  # noqa: ASYNC110  (files ring no bell)
                    await asyncio.sleep(LOOK_SECONDS)
            watching = asyncio.create_task(self._close_breakers(api))
            yield
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            for client_id in list(self._processes):
                self._end(client_id)

    def _start(self, client_id: str) -> None:
        self._processes[client_id] = fork(live, self._lives[client_id])

    def _end(self, client_id: str) -> None:
        process = self._processes.pop(client_id)
        process.kill()
        process.join()
        process.close()

    async def _close_breakers(self, api: Api) -> None:
        while True:
            for client in (await api.call("GET", "/v1/clients?breaker=open&limit=100"))["items"]:
                await api.call("POST", f"/v1/clients/{client['id']}/breaker/reset")
            await asyncio.sleep(LOOK_SECONDS * 4)
