"""Measure how long a training stands still when its owner is killed or stopped: ``make takeover``.

There are three replicas. The owner, which the database names, is killed in the middle of a round, again and again. A
takeover lasts from the kill to the claim of the next owner, on the clock of the database. In the end every round must
be complete.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import select

from app.store.database import Database
from app.store.tables import trainings
from tcsfeel.agent import hosting
from tests.harnesses.databases import database_server, new_database
from tests.harnesses.fleet import learners, trained_more_than_once
from tests.harnesses.history import problems, read_history
from tests.harnesses.replicas import Replica, Replicas, running
from tests.harnesses.strategies import client_id

LEASE_SECONDS = 3.0
CLIENTS = 6
FIT_SECONDS = 0.3
AT_MOST = 1.0  # seconds: after the end of the lease if the owner was killed, and after SIGTERM
LOOK_SECONDS = 0.01
PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The seconds of each takeover after a kill and after SIGTERM, and what is wrong with the history."""

    kills: list[float]
    handovers: list[float]
    rounds: int
    trained_again: int
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a training at a time. `now` and `claimed_at` are unix seconds on the database's clock."""

    name: str
    fence: int
    claimed_at: float
    now: float


class Watch:
    """Reads the lease of a training over a connection that stays open."""

    def __init__(self, db: Database, training_id: str, lease_seconds: float) -> None:
        self._db = db
        self._training_id = training_id
        self._lease_seconds = lease_seconds

    async def owner(self) -> Owner | None:
        """Return the owner, or None if there is none. The time of its claim is right until it renews its lease."""
        async with self._db.read() as tx:
            columns = (trainings.c.owner, trainings.c.fence, trainings.c.lease_until)
            query = select(*columns).where(trainings.c.id == self._training_id)
            row = (await tx.connection.execute(query)).one()
            now = await tx.now()
        return None if row.owner is None else Owner(row.owner, row.fence, row.lease_until - self._lease_seconds, now)

    async def owner_after(self, fence: int) -> Owner:
        """Wait for the first owner with a higher fence."""
        async with asyncio.timeout(PATIENCE):
            while (owner := await self.owner()) is None or owner.fence <= fence:  # noqa: ASYNC110  (a row rings no bell)
                await asyncio.sleep(LOOK_SECONDS)
        return owner

    async def in_mid_round(self) -> None:
        """Wait until some updates of the open round have been received, and others have not."""
        async with asyncio.timeout(PATIENCE):
            while True:
                async with self._db.read() as tx:
                    last = (await tx.rounds.page(self._training_id, limit=1, before=None)).items
                statuses = {part.status for value in last for part in value.participations}
                if {"training", "received"} <= statuses:
                    return
                await asyncio.sleep(LOOK_SECONDS)


async def takeover(
    *,
    kills: int,
    handovers: int,
    directory: Path,
    server: str | None,
    lease_seconds: float = LEASE_SECONDS,
    seed: int = 1,
) -> Outcome:
    """Kill the owner `kills` times, stop it `handovers` times, and check the result."""
    rng = random.Random(seed)  # noqa: S311  (chance, not secrets)
    environment = {
        "TCSFEEL_COORDINATOR__LEASE_SECONDS": str(lease_seconds),
        "TCSFEEL_COORDINATOR__TICK_SECONDS": "0.2",
    }
    async with new_database(server, directory / "database") as url:
        replicas = Replicas(directory / "replicas", url, environment=environment)
        fleet = learners([client_id("a", number) for number in range(CLIENTS)], seconds=FIT_SECONDS)
        agents = hosting(
            fleet,
            server_url=f"http://127.0.0.1:{replicas.all[0].port}",
            api_key=replicas.key,
            heartbeat_seconds=3600,
            threads=CLIENTS,
        )
        async with running(replicas) as api, agents:
            body = {
                "name": "takeover",
                "max_rounds": 1_000_000,
                "target_accuracy": 1.0,
                "selection": {"strategy": "random", "min_clients": CLIENTS, "max_clients": CLIENTS},
                "evaluation": {"clients": 2},
                "round_policy": {"quorum": 1.0},
            }
            training = await api.call("POST", "/v1/trainings", json=body, headers={"Idempotency-Key": "takeover"})
            path = f"/v1/trainings/{training['id']}"
            await api.call("POST", f"{path}/start", also=409)
            async with _watch(url, training["id"], lease_seconds) as watch:
                taken = [await _taken_over(replicas, watch, signal.SIGKILL, rng) for _ in range(kills)]
                given = [await _taken_over(replicas, watch, signal.SIGTERM, rng) for _ in range(handovers)]
            await api.call("POST", f"{path}/cancel", also=409)
        history = await read_history(url)
    found = problems(history, replicas.data / "models", cancelled=True) + replicas.unhandled()
    if (orderly := replicas.lines(" stopped ")) != handovers:
        found.append(f"{orderly} replicas came to an orderly end, should be {handovers}")
    if replicas.ends[-signal.SIGKILL] != kills:
        found.append(f"{replicas.ends[-signal.SIGKILL]} replicas were killed, should be {kills}")
    return Outcome(
        kills=taken,
        handovers=given,
        rounds=history.rounds,
        trained_again=trained_more_than_once(fleet.values()),
        problems=found,
    )


async def _taken_over(replicas: Replicas, watch: Watch, number: signal.Signals, rng: random.Random) -> float:
    """Send the owner a signal in the middle of a round. Returns the seconds until another replica owns the training."""
    while True:
        await watch.in_mid_round()
        await asyncio.sleep(rng.uniform(0, FIT_SECONDS))
        owner = await watch.owner()
        replica = None if owner is None else _replica(replicas, owner.name)
        if owner is not None and replica is not None:
            break
    replica.signal(number)
    successor = await watch.owner_after(owner.fence)
    return min(successor.claimed_at, successor.now) - owner.now


def _replica(replicas: Replicas, owner: str) -> Replica | None:
    return next((replica for replica in replicas.all if replica.alive and owner.startswith(replica.name)), None)


@asynccontextmanager
async def _watch(url: str, training_id: str, lease_seconds: float) -> AsyncIterator[Watch]:
    db = Database(url, pool_size=1)
    try:
        yield Watch(db, training_id, lease_seconds)
    finally:
        await db.dispose()


def report(outcome: Outcome, database: str, found: list[str]) -> str:
    """Return the last line of the report."""
    kills, handovers = outcome.kills, outcome.handovers
    return (
        f"takeover on {database}, lease {LEASE_SECONDS:g} s: {len(kills)} kills, worst {max(kills):.2f} s, "
        f"median {median(kills):.2f} s; {len(handovers)} SIGTERM, worst {max(handovers):.2f} s, "
        f"median {median(handovers):.2f} s; {outcome.rounds} rounds, {outcome.trained_again} tasks trained again; "
        f"{'ok' if not found else f'{len(found)} PROBLEMS'}"
    )


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make takeover", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--handovers", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    given = parser.parse_args()
    with database_server(given.database) as server, contextlib.ExitStack() as stack:
        directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-takeover-")))
        outcome = await takeover(kills=given.kills, handovers=given.handovers, directory=directory, server=server)
    found = outcome.problems
    if max(outcome.kills) > LEASE_SECONDS + AT_MOST:
        found.append(f"a takeover took {max(outcome.kills):.2f} s, more than the lease and {AT_MOST:g} s")
    if max(outcome.handovers) >= AT_MOST:
        found.append(f"a handover took {max(outcome.handovers):.2f} s, not less than {AT_MOST:g} s")
    for problem in found[:50]:
        print(f"  {problem}")
    print(report(outcome, given.database, found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
