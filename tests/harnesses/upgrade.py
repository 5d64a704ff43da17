"""Upgrade replicas one by one while trainings run, and check that no round is lost: ``make upgrade FROM=REVISION``.

Three replicas of an earlier revision drive trainings, wave after wave. The database is migrated under them, and then
once more, as a version after this one would do it. Then each replica is replaced by the code as it is: some end on
their own, some are killed. One goes back to the earlier revision, and forward again. At each step, replicas of both
versions are killed. The same waves then run without any of this, on the code as it is: both runs must have the same
history.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from app.store import migrations
from tests.harnesses.api import Api
from tests.harnesses.crash import Run, calm
from tests.harnesses.databases import blank_database, database_server, new_database
from tests.harnesses.earlier import Earlier, MixedReplicas, installed
from tests.harnesses.history import differences, problems, read_history
from tests.harnesses.replicas import Replica
from tests.harnesses.waves import Work, at_work, wave
from tests.store.newer import add

LOOK_SECONDS = 0.05
READY_SECONDS = 60.0  # within which a replica has to be ready after each step
ENDS = {0, -signal.SIGTERM, -signal.SIGKILL}  # on its own, with or without the signal that it was asked by; killed
LEASE_SECONDS = "5"  # starts take their time from the trainings, and a slow machine must not look like a dead one
PAUSE = (0.2, 0.8)  # seconds between two kills


@dataclass(kw_only=True)
class Outcome:
    """The result of a run. `kills` counts them by the version of the replica; `problems` is empty if all is correct."""

    revision: str
    kills: Counter[str] = field(default_factory=Counter)
    steps: list[str] = field(default_factory=list)
    waves: int = 0
    rounds: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def report(self, database: str) -> str:
        kills = ", ".join(f"{count} of the {version} version" for version, count in sorted(self.kills.items()))
        return (
            f"upgrade from {self.revision} on {database}: {len(self.steps)} steps ({', '.join(self.steps)}); killed "
            f"{kills}; {self.waves} waves, {self.rounds} rounds in {self.seconds:.0f} s; "
            f"{'ok, every model as without an upgrade' if not self.problems else f'{len(self.problems)} PROBLEMS'}"
        )


@dataclass
class Upgrade:
    """Replaces the replicas, and looks after each step whether all of them become ready."""

    replicas: MixedReplicas
    url: str
    kills: int
    rng: random.Random
    outcome: Outcome

    async def run(self) -> None:
        await self._settled("earlier")
        await migrations.upgrade(self.url)
        await add(self.url)
        await self._settled("migrated")
        for replica in self.replicas.all:
            await self._replaced(replica)
            await self._settled(f"{replica.number + 1} of {len(self.replicas.all)}")
        await self._replaced(self.replicas.all[0])
        await self._settled("one back")
        await self._replaced(self.replicas.all[0])
        await self._settled("all")

    async def _replaced(self, replica: Replica) -> None:
        """Let a replica end, on its own or not: what starts in its place is of the other version."""
        before = replica.lives
        self.replicas.behind ^= {replica.number}
        gently = replica.number % 2 == 0
        while not replica.signal(signal.SIGTERM if gently else signal.SIGKILL):  # noqa: ASYNC110  (dead processes ring no bell)
            await asyncio.sleep(LOOK_SECONDS)
        async with asyncio.timeout(READY_SECONDS):
            while replica.lives == before:  # noqa: ASYNC110  (dead processes ring no bell)
                await asyncio.sleep(LOOK_SECONDS)

    async def _settled(self, step: str) -> None:
        """Kill some replicas, and wait after each until all are ready."""
        self.outcome.steps.append(step)
        await self._ready(step)
        for _ in range(self.kills):
            await asyncio.sleep(self.rng.uniform(*PAUSE))
            replica = self.rng.choice(self.replicas.all)
            if replica.signal(signal.SIGKILL):
                self.outcome.kills["earlier" if replica.number in self.replicas.behind else "newer"] += 1
            await self._ready(step)

    async def _ready(self, step: str) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=READY_SECONDS) as http:
            for replica in self.replicas.all:
                until = time.monotonic() + READY_SECONDS
                while (missing := await _missing(http, replica)) is not None:
                    if time.monotonic() > until:
                        self.outcome.problems.append(f"{step}: replica {replica.number} is not ready: {missing}")
                        break
                    await asyncio.sleep(LOOK_SECONDS)


async def _missing(http: httpx2.AsyncClient, replica: Replica) -> str | None:
    """Say why a replica is not ready; None if it is."""
    try:
        answer = await http.get(f"http://127.0.0.1:{replica.port}/readyz")
    except httpx2.TransportError:
        return "it does not answer"
    return None if answer.is_success else answer.text


async def upgrade(run: Run, kills: int, directory: Path, server: str | None, earlier: Earlier | None) -> Outcome:
    """Upgrade replicas of `earlier` while waves of trainings run, with `kills` at each step; None for our own code."""
    began = time.monotonic()
    outcome = Outcome(revision=earlier.revision if earlier else "itself")
    database = new_database if earlier is None else blank_database
    async with database(server, directory / "database") as url:
        environment = {"TCSFEEL_COORDINATOR__LEASE_SECONDS": LEASE_SECONDS}
        replicas = MixedReplicas(directory / "replicas", url, earlier=earlier, environment=environment)
        if earlier is not None:
            await asyncio.to_thread(earlier.run, replicas.environment_of(), "migrate")
        rng = random.Random(run.seed)  # noqa: S311  (chance, not secrets)
        steps = Upgrade(replicas, url, kills, rng, outcome)
        async with (
            at_work(replicas, run.work, directory / "agents") as fleet,
            asyncio.timeout(run.patience),
            _waves(fleet.api, run.work, outcome),
        ):
            await steps.run()
        history = await read_history(url)
    outcome.rounds = history.rounds
    outcome.problems += problems(history, replicas.data / "models") + replicas.unhandled()
    odd = {status: count for status, count in replicas.ends.items() if status not in ENDS}
    outcome.problems += [f"{count} replicas ended with status {status}" for status, count in odd.items()]
    without = await calm(run, outcome.waves, directory / "calm", server)
    outcome.problems += differences(history, without)
    outcome.seconds = time.monotonic() - began
    return outcome


@asynccontextmanager
async def _waves(api: Api, work: Work, outcome: Outcome) -> AsyncIterator[None]:
    """Run trainings, wave after wave, while the block runs; those that have begun come to their end."""
    over = asyncio.Event()

    async def waves() -> None:
        while not over.is_set():
            outcome.waves += 1
            await wave(api, work, outcome.waves)

    async with asyncio.TaskGroup() as group:
        group.create_task(waves())
        try:
            yield
        finally:
            over.set()


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make upgrade", description=__doc__)
    parser.add_argument("--from", dest="revision", required=True, help="a git revision, such as HEAD~20")
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--kills", type=int, default=4, help="at each of the seven steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transport", choices=["push", "pull"], default="push", help="pull: half of the agents pull")
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    given = parser.parse_args()
    earlier = await asyncio.to_thread(installed, given.revision)
    run = Run(seed=given.seed, work=Work(pull=given.transport == "pull"))
    with database_server(given.database) as server, contextlib.ExitStack() as stack:
        directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-upgrade-")))
        outcome = await upgrade(run, given.kills, directory, server, earlier)
    for problem in outcome.problems[:50]:
        print(f"  {problem}")
    print(outcome.report(given.database))
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
