"""Kill, stall and confuse replicas, and check that no round is lost: ``make crash``.

Three replicas drive three trainings at a time, wave after wave, until replicas have been killed as often as asked for.
Then the same waves run without faults. Both runs must have the same history: the same selections, updates and models.
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
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tcsfeel.agent import hosting
from tests.harnesses import faults as points
from tests.harnesses.api import Api
from tests.harnesses.databases import database_server, new_database
from tests.harnesses.faults import Faults
from tests.harnesses.fleet import learners, trained_more_than_once
from tests.harnesses.history import History, differences, problems, read_history
from tests.harnesses.replicas import Replica, Replicas, running, switched_on
from tests.harnesses.strategies import GROUPS, client_id, strategy_name

CLIENTS_A_GROUP = 4
CLIENTS_A_ROUND = 3
FIT_SECONDS = 0.03
CALM_LEASE_SECONDS = "30"  # no replica dies in this run, and a slow machine must not look like a dead one
ENDED = {"completed", "failed", "cancelled"}
LOOK_SECONDS = 0.1

# Probabilities for each time that a point is reached. A round reaches most points once, and those of an update 3 times.
OFTEN, SELDOM = 0.02, 0.007
ONCE_A_CLIENT = {"settled", "hand-over", "answer in the spool"}
KILLS = {
    point: 0.2 if "initial_model" in point else SELDOM if any(name in point for name in ONCE_A_CLIENT) else OFTEN
    for point in points.POINTS
}
STALLS = dict.fromkeys(points.BEFORE, 0.02) | dict.fromkeys(points.INSIDE, 0.002)
REPEATS = {"settled": 0.03, "committed": 0.1}


@dataclass(frozen=True, kw_only=True)
class Run:
    """The faults and the size of a run.

    Attributes:
        kills: after so many kills the faults end and there are no more waves; None for faults in all waves.
        waves: the least number of waves.
        kills_at, stalls_at, stall_seconds, stalls_alone, repeats_of: see `Faults`.
        tick: the seconds after which an owner checks its lease again. An owner that wakes up after its lease has ended
            is stopped by the fence, unless such a check comes first.
        pause: the mean seconds between random signals from outside; None for no signals.
        patience: the seconds after which a run that has not ended fails.
        transport: with ``pull``, half of the agents ask for their tasks.
    """

    seed: int = 1
    kills: int | None = 200
    waves: int = 1
    rounds: int = 6
    kills_at: Mapping[str, float] = field(default_factory=lambda: KILLS)
    stalls_at: Mapping[str, float] = field(default_factory=lambda: STALLS)
    stall_seconds: tuple[float, float] = (1.5, 2.5)
    stalls_alone: bool = False
    repeats_of: Mapping[str, float] = field(default_factory=lambda: REPEATS)
    tick: float = 0.2
    pause: float | None = 3.0
    patience: float = 3600.0
    mutant: str | None = None
    transport: str = "push"


@dataclass(kw_only=True)
class Outcome:
    """The result of a run. `problems` is empty if everything is correct."""

    history: History
    problems: list[str]
    waves: int
    kills: Counter[str]
    stalls: int
    freezes: int
    repeats: int
    fenced: int
    takeovers: int
    trained_again: int
    seconds: float


async def crash(run: Run, directory: Path, server: str | None) -> Outcome:
    """Run with faults, and find the problems that need no comparison with a run without faults."""
    began = time.monotonic()
    faults = Faults(
        switch=directory / "faults",
        record=directory / "record",
        seed=str(run.seed),
        kills=run.kills_at,
        stalls=run.stalls_at,
        stall_seconds=run.stall_seconds,
        stalls_alone=run.stalls_alone,
        repeats=run.repeats_of,
    )
    found: list[str] = []
    async with new_database(server, directory / "database") as url:
        environment = {"TCSFEEL_COORDINATOR__TICK_SECONDS": str(run.tick)}
        replicas = Replicas(directory / "replicas", url, faults=faults, mutant=run.mutant, environment=environment)
        stranger = Stranger(replicas, random.Random(run.seed), run.pause)  # noqa: S311  (chance, not secrets)
        async with _fleet(replicas, run.transport, directory / "agents") as (api, fleet):
            waves = 0
            with switched_on(faults) as calm_down:
                enough = asyncio.create_task(_enough(replicas, run.kills, stranger, calm_down))
                try:
                    async with asyncio.timeout(run.patience):
                        while waves < run.waves or not (run.kills is None or enough.done()):
                            waves += 1
                            await _wave(api, run, waves)
                except TimeoutError:
                    found.append(f"wave {waves} has not come to its end within {run.patience:.0f} s")
                finally:
                    enough.cancel()
                    await asyncio.gather(enough, return_exceptions=True)
        history = await read_history(url)
    recorded = faults.recorded()
    kills = Counter({point.partition(" ")[2]: n for point, n in recorded.items() if point.startswith("kill ")})
    kills["at random"] = max(0, replicas.ends[-9] - kills.total())
    found += problems(history, replicas.data / "models")
    found += replicas.unhandled()
    found += [f"{count} replicas ended with status {status}" for status, count in replicas.ends.items() if status != -9]
    return Outcome(
        history=history,
        problems=found,
        waves=waves,
        kills=kills,
        stalls=sum(count for fault, count in recorded.items() if fault.startswith("stall ")),
        freezes=stranger.freezes,
        repeats=sum(count for fault, count in recorded.items() if fault.startswith("repeat ")),
        fenced=replicas.lines(" another server owns the training now "),
        takeovers=replicas.lines(" training taken over "),
        trained_again=trained_more_than_once(fleet.values()),
        seconds=time.monotonic() - began,
    )


async def calm(run: Run, waves: int, directory: Path, server: str | None) -> History:
    """Run the same waves without faults."""
    async with new_database(server, directory / "database") as url:
        environment = {"TCSFEEL_COORDINATOR__LEASE_SECONDS": CALM_LEASE_SECONDS}
        replicas = Replicas(directory / "replicas", url, environment=environment)
        async with _fleet(replicas, run.transport, directory / "agents") as (api, _):
            for wave in range(1, waves + 1):
                await _wave(api, run, wave)
        history = await read_history(url)
    if found := problems(history, replicas.data / "models") + replicas.unhandled():
        raise AssertionError(f"even without faults: {found}")
    return history


class Stranger:
    """Sends signals from outside at random times. Most of them kill a replica, some stop it past its lease."""

    def __init__(self, replicas: Replicas, rng: random.Random, pause: float | None) -> None:
        self._replicas = replicas
        self._rng = rng
        self._pause = pause
        self.freezes = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as freezing:
            while self._pause is not None:
                await asyncio.sleep(self._rng.uniform(0, 2 * self._pause))
                replica: Replica = self._rng.choice(self._replicas.all)
                if self._rng.random() < 0.7:
                    replica.signal(signal.SIGKILL)
                else:
                    self.freezes += 1
                    freezing.create_task(self._replicas.freeze(replica, self._rng.uniform(1.2, 2.5)))


async def _enough(replicas: Replicas, kills: int | None, stranger: Stranger, calm_down: Any) -> None:
    """Wait until replicas have been killed so often, and end all faults."""
    outside = asyncio.create_task(stranger.run())
    try:
        while kills is None or replicas.ends[-9] < kills:  # noqa: ASYNC110  (dead processes ring no bell)
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        calm_down()
        outside.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await outside


@asynccontextmanager
async def _fleet(replicas: Replicas, transport: str, state: Path) -> AsyncIterator[tuple[Api, Mapping[str, Any]]]:
    """Run replicas with registered agents. With the transport ``pull``, every second one asks for its tasks."""
    fleet = learners(
        [client_id(group, number) for group in GROUPS for number in range(CLIENTS_A_GROUP)], seconds=FIT_SECONDS
    )
    pulled = {name: one for number, (name, one) in enumerate(fleet.items()) if transport == "pull" and number % 2}
    called = {name: one for name, one in fleet.items() if name not in pulled}
    url = f"http://127.0.0.1:{replicas.all[0].port}"
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(running(replicas))
        await stack.enter_async_context(
            hosting(called, server_url=url, api_key=replicas.key, heartbeat_seconds=3600, threads=len(called))
        )
        if pulled:
            made = await api.call("POST", "/v1/invitations", json={"uses": len(pulled)})
            await stack.enter_async_context(
                hosting(pulled, server_url=url, invite=made["secret"], state=state, pull=True, threads=len(pulled))
            )
        yield api, fleet


async def _wave(api: Api, run: Run, wave: int) -> None:
    """Run a training for each group of clients, from its creation to its end."""
    paths = []
    for number, group in enumerate(GROUPS):
        name = f"wave-{wave}-{group}"
        body = {
            "name": name,
            "max_rounds": run.rounds,
            "target_accuracy": 1.0,
            "seed": 100 * wave + number,
            "selection": {
                "strategy": strategy_name(group),
                "min_clients": CLIENTS_A_ROUND,
                "max_clients": CLIENTS_A_ROUND,
            },
            "evaluation": {"clients": 2},
            "round_policy": {"quorum": 1.0},
        }
        training = await api.call("POST", "/v1/trainings", json=body, headers={"Idempotency-Key": name})
        paths.append(f"/v1/trainings/{training['id']}")
        await api.call("POST", f"{paths[-1]}/start", also=409)  # 409 if it was started before, without an answer
    for path in paths:
        while (await api.call("GET", path))["status"] not in ENDED:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)


def report(outcome: Outcome, database: str, found: list[str]) -> str:
    """Return the last line of the report."""
    at = ", ".join(f"{point} {count}" for point, count in sorted(outcome.kills.items()))
    return (
        f"crash on {database}: {outcome.kills.total()} kills ({at}); {outcome.stalls} stalls, "
        f"{outcome.freezes} freezes, {outcome.repeats} repeats; "
        f"{outcome.takeovers} takeovers, {outcome.fenced} fenced; "
        f"{outcome.history.rounds} rounds in {outcome.seconds:.0f} s, {outcome.trained_again} tasks trained again; "
        f"{'ok, every model as without faults' if not found else f'{len(found)} PROBLEMS'}"
    )


def enough_seen(outcome: Outcome, wanted: int) -> list[str]:
    """List the kinds of faults of which there were too few for the size of the run."""
    named = sum(point in points.POINTS for point in outcome.kills)
    return [
        text
        for missing, text in (
            (outcome.kills.total() < wanted, f"only {outcome.kills.total()} kills"),
            (named < min(8, wanted // 8), f"kills at {named} points only"),
            (outcome.fenced < min(10, wanted // 20), f"only {outcome.fenced} fenced writes"),
        )
        if missing
    ]


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transport", choices=["push", "pull"], default="push", help="pull: half of the agents pull")
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    given = parser.parse_args()
    run = Run(seed=given.seed, kills=given.kills, patience=120 + 20 * given.kills, transport=given.transport)
    with database_server(given.database) as server, contextlib.ExitStack() as stack:
        directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-crash-")))
        outcome = await crash(run, directory / "crash", server)
        without = await calm(run, outcome.waves, directory / "calm", server)
    found = outcome.problems + differences(outcome.history, without) + enough_seen(outcome, given.kills)
    for problem in found[:50]:
        print(f"  {problem}")
    print(report(outcome, given.database, found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
