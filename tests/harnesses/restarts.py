"""Stop the database in the middle of rounds again and again, and check that no update is lost: ``make restarts``.

Two replicas run with the settings of a deployment. `pg_ctl stop -m immediate` is like a crash of Postgres, which then
recovers from its log. An observer reads the rounds all the time. Every update that it has seen as received must exist
at the end with the same bytes. After that, the disk of the model store "fills up" a few times: a replica cannot write
files that are larger than a fraction of a model. No client may have a failure or a second training because of this.
"""

import argparse
import asyncio
import contextlib
import math
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx2

from app.domain.breaker import Breaker
from app.domain.clients import Client, moving_average
from app.store.database import Database
from tcsfeel.agent import hosting
from tests.harnesses.api import Api
from tests.harnesses.databases import new_database
from tests.harnesses.fleet import trained_more_than_once
from tests.harnesses.history import problems, read_history
from tests.harnesses.observer import LOOK_SECONDS, PATIENCE, Observer, observed, until
from tests.harnesses.outages import Postgres, postgres_server
from tests.harnesses.replicas import Replicas, running
from tests.harnesses.wide import WideLearner

AT_MOST = 5.0  # seconds from when the database accepts connections until everything continues
CLIENTS = 6
FIT_SECONDS = 0.3
REPLICAS = 2
FLOATS = 300_000
ROOM = 1 << 20  # bytes, which are fewer than those of a model
FULL_SECONDS = 4.0
MOSTLY = 0.7
# the default, since the time of the recovery must not depend on a short lease
ENVIRONMENT = {"TCSFEEL_COORDINATOR__LEASE_SECONDS": "15", "TCSFEEL_COORDINATOR__TICK_SECONDS": "0.2"}
EXPECTED = ("the database does not answer", "the model store cannot store a file")


@dataclass(kw_only=True)
class Outcome:
    """The result of a run. `problems` is empty if everything is correct.

    Attributes:
        ready: the seconds after each return of the database until all replicas were ready.
        going_on: the same until the next step of a round.
        with_room: the seconds after each time that the disk had room again until the next step of a round.
        acknowledged: the number of updates that were seen as received.
    """

    ready: list[float] = field(default_factory=list)
    going_on: list[float] = field(default_factory=list)
    with_room: list[float] = field(default_factory=list)
    acknowledged: int = 0
    rounds: int = 0
    trained_again: int = 0
    interruptions: int = 0
    problems: list[str] = field(default_factory=list)


async def restarts(
    *, count: int, full: int, directory: Path, full_seconds: float = FULL_SECONDS, seed: int = 1
) -> Outcome:
    """Stop the database `count` times, fill the disk `full` times, and check the result."""
    rng = random.Random(seed)  # noqa: S311  (chance, not secrets)
    outcome = Outcome()
    async with postgres_server() as server, new_database(server.url, directory) as url:
        replicas = Replicas(directory / "replicas", url, count=REPLICAS, environment=ENVIRONMENT)
        fleet = {f"c-{number}": WideLearner(number, seconds=FIT_SECONDS, floats=FLOATS) for number in range(CLIENTS)}
        first = f"http://127.0.0.1:{replicas.all[0].port}"
        agents = hosting(fleet, server_url=first, api_key=replicas.key, heartbeat_seconds=3600, threads=len(fleet))
        async with running(replicas) as api, agents:
            path, training_id = await _begin(api)
            async with observed(url, training_id) as observer, asyncio.timeout(count * PATIENCE + full * PATIENCE):
                for _ in range(count):
                    await _restart(server, replicas, observer, rng, outcome)
                for _ in range(full if hasattr(resource, "prlimit") else 0):  # Linux
                    await _fill(replicas, observer, rng, outcome, full_seconds)
                await observer.step_after(observer.last_event)
            outcome.problems += await _blamed(url)  # now, since the agents may end in the middle of a call
            await api.call("POST", f"{path}/cancel", also=409)
        history = await read_history(url)
        outcome.problems += problems(history, replicas.data / "models", cancelled=True)
        outcome.problems += observer.taken_back + observer.lost(history)
    outcome.acknowledged, outcome.rounds = len(observer.acknowledged), history.rounds
    outcome.trained_again = trained_more_than_once(fleet.values())
    if outcome.trained_again:
        outcome.problems.append(f"{outcome.trained_again} tasks were trained again")
    outcome.interruptions = replicas.lines(" interrupted ")
    outcome.problems += [line for line in replicas.unhandled() if not any(words in line for words in EXPECTED)]
    outcome.problems += [f"{number} replicas ended with {status}" for status, number in replicas.ends.items()]
    return outcome


async def _begin(api: Api) -> tuple[str, str]:
    body = {
        "name": "restarts",
        "max_rounds": 1_000_000,
        "target_accuracy": 1.0,
        "selection": {"strategy": "random", "min_clients": CLIENTS, "max_clients": CLIENTS},
        "evaluation": {"clients": 2},
        "round_policy": {"quorum": 1.0},
    }
    training = await api.call("POST", "/v1/trainings", json=body, headers={"Idempotency-Key": "restarts"})
    path = f"/v1/trainings/{training['id']}"
    await api.call("POST", f"{path}/start", also=409)
    return path, training["id"]


async def _restart(
    server: Postgres, replicas: Replicas, observer: Observer, rng: random.Random, outcome: Outcome
) -> None:
    """Stop the database for about a second at a random time, mostly while clients train."""
    await observer.mid_round()
    await asyncio.sleep(rng.uniform(0, FIT_SECONDS if rng.random() < MOSTLY else 5 * FIT_SECONDS))
    await asyncio.to_thread(server.stop_immediately)
    await asyncio.sleep(rng.uniform(0.5, 1.5))
    seen = observer.last_event
    await asyncio.to_thread(server.start)
    back = time.monotonic()

    async def ready() -> float:
        async with httpx2.AsyncClient(trust_env=False, timeout=AT_MOST) as http:
            for replica in replicas.all:
                while not await _is_ready(http, f"http://127.0.0.1:{replica.port}/readyz"):  # noqa: ASYNC110  (it is another process)
                    await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - back

    async def going_on() -> float:
        await observer.step_after(seen)
        return time.monotonic() - back

    async with asyncio.timeout(PATIENCE):
        took = await asyncio.gather(ready(), going_on())
    outcome.ready.append(took[0])
    outcome.going_on.append(took[1])


async def _is_ready(http: httpx2.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).is_success
    except httpx2.TransportError:
        return False


async def _fill(replicas: Replicas, observer: Observer, rng: random.Random, outcome: Outcome, seconds: float) -> None:
    """Leave the disk without room for a model for some seconds, at a random time of a round."""
    await observer.mid_round()
    await asyncio.sleep(rng.uniform(0, FIT_SECONDS))
    before = replicas.lines(" interrupted ")
    _limit_files(replicas, ROOM)
    try:
        await until(lambda: replicas.lines(" interrupted ") > before)
        await asyncio.sleep(seconds)
        seen = observer.last_event
    finally:
        _limit_files(replicas, None)
    began = time.monotonic()
    await observer.step_after(seen)
    outcome.with_room.append(time.monotonic() - began)


def _limit_files(replicas: Replicas, room: int | None) -> None:
    """Limit the size of a replica's files in bytes. Larger writes fail like those to a full disk."""
    for replica in replicas.all:
        _, hard = resource.prlimit(replica.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(replica.process.pid, resource.RLIMIT_FSIZE, (hard if room is None else room, hard))


async def _blamed(url: str) -> list[str]:
    """List clients with a failure, although they are not to blame for anything that happened."""
    db = Database(url, pool_size=1)
    try:
        async with db.read() as tx:
            clients = await tx.clients.all()
            told = (await tx.events.after(0, limit=1_000_000)).items
    finally:
        await db.dispose()
    found = [f"{event.client_id}: {event.type}" for event in told if event.type.startswith("breaker.")]
    return found + [
        f"client {client.id} is blamed: {client.breaker}, reliability {client.measured.reliability}"
        for client in clients
        if client.breaker != Breaker(outcomes=client.breaker.outcomes)
        or "failed" in client.breaker.outcomes
        or not _always_came(client)
    ]


def _always_came(client: Client) -> bool:
    """Tell whether the mean of a client's reliability is that of a client without failures."""
    expected = client.profile.reliability
    for _ in range(client.rounds_completed):
        expected = moving_average(expected, 1.0)
    return math.isclose(client.measured.reliability or client.profile.reliability, expected)


def too_slow(outcome: Outcome) -> list[str]:
    """List what took longer than it may."""
    measured = {"ready": outcome.ready, "going on": outcome.going_on, "going on after a full disk": outcome.with_room}
    return [f"{what} took {max(took):.2f} s" for what, took in measured.items() if took and max(took) > AT_MOST]


def report(outcome: Outcome, found: Sequence[str]) -> str:
    """Return the last line of the report."""

    def seconds(took: list[float]) -> str:
        return f"worst {max(took):.2f} s, median {median(took):.2f} s" if took else "-"

    return (
        f"restarts: {len(outcome.ready)} times pg_ctl stop -m immediate in mid-round; ready {seconds(outcome.ready)}; "
        f"going on {seconds(outcome.going_on)}; {len(outcome.with_room)} times a full disk, going on "
        f"{seconds(outcome.with_room)}; {outcome.acknowledged} acknowledged updates in {outcome.rounds} rounds, "
        f"{outcome.interruptions} interruptions, {outcome.trained_again} tasks trained again; "
        f"load {os.getloadavg()[0]:.1f}; {'ok, none lost' if not found else f'{len(found)} PROBLEMS'}"
    )


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make restarts", description=__doc__)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--full", type=int, default=3, help="how often the disk is full")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-restarts-")))
        outcome = await restarts(count=given.restarts, full=given.full, directory=directory, seed=given.seed)
    found = outcome.problems + too_slow(outcome)
    for problem in found[:50]:
        print(f"  {problem}")
    print(report(outcome, found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
