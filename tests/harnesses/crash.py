"""``make crash``: replicas are killed, stalled and made to repeat themselves, and not one round is lost.

Three replicas drive three trainings at once, wave after wave, until they were killed as often as asked for. Then the
same waves run without faults, and both runs must have the same history: the same selections, updates and models.
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
CALM_LEASE_SECONDS = "30"  # nobody dies there, and a slow machine must not look like a death
ENDED = {"completed", "failed", "cancelled"}
LOOK_SECONDS = 0.1

# Chances for one pass. A round passes most points once, those of one client's update three times.
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
    """What happens in a run.

    Attributes:
        kills: waves go on until replicas were killed so often, then the faults end; None: as long as there are waves.
        waves: the least number of waves.
        kills_at, stalls_at, stall_seconds, stalls_alone, repeats_of: see `Faults`.
        tick: seconds between an owner's looks at its lease. Who comes back late has less than that until it is stopped
            by such a look, and not by the fence.
        pause: seconds between random signals from outside, on average; None: there are none.
        patience: seconds after which a run that has not come to its end will not.
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


@dataclass(kw_only=True)
class Outcome:
    """What a run has come to. `problems` is empty where all is well."""

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
    """A run with faults, with the problems that show by itself; `compare` finds the others."""
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
        async with _fleet(replicas) as (api, fleet):
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
    """The same waves without faults."""
    async with new_database(server, directory / "database") as url:
        environment = {"TCSFEEL_COORDINATOR__LEASE_SECONDS": CALM_LEASE_SECONDS}
        replicas = Replicas(directory / "replicas", url, environment=environment)
        async with _fleet(replicas) as (api, _):
            for wave in range(1, waves + 1):
                await _wave(api, run, wave)
        history = await read_history(url)
    if found := problems(history, replicas.data / "models") + replicas.unhandled():
        raise AssertionError(f"even without faults: {found}")
    return history


class Stranger:
    """Sends signals from outside at random instants: most kill, some freeze a replica past its lease."""

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
    """Return, with all faults ended, once replicas were killed so often."""
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
async def _fleet(replicas: Replicas) -> AsyncIterator[tuple[Api, Mapping[str, Any]]]:
    """Replicas with agents that are registered with them."""
    fleet = learners(
        [client_id(group, number) for group in GROUPS for number in range(CLIENTS_A_GROUP)], seconds=FIT_SECONDS
    )
    url = f"http://127.0.0.1:{replicas.all[0].port}"
    async with (
        running(replicas) as api,
        hosting(fleet, server_url=url, api_key=replicas.key, heartbeat_seconds=3600, threads=len(fleet)),
    ):
        yield api, fleet


async def _wave(api: Api, run: Run, wave: int) -> None:
    """A training for each group of clients, from its creation to its end."""
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
        await api.call("POST", f"{paths[-1]}/start", also=409)  # 409: it was asked before, and died before it answered
    for path in paths:
        while (await api.call("GET", path))["status"] not in ENDED:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)


def report(outcome: Outcome, database: str, found: list[str]) -> str:
    """The closing line."""
    at = ", ".join(f"{point} {count}" for point, count in sorted(outcome.kills.items()))
    return (
        f"crash on {database}: {outcome.kills.total()} kills ({at}); {outcome.stalls} stalls, "
        f"{outcome.freezes} freezes, {outcome.repeats} repeats; "
        f"{outcome.takeovers} takeovers, {outcome.fenced} fenced; "
        f"{outcome.history.rounds} rounds in {outcome.seconds:.0f} s, {outcome.trained_again} tasks trained again; "
        f"{'ok, every model as without faults' if not found else f'{len(found)} PROBLEMS'}"
    )


def enough_seen(outcome: Outcome, wanted: int) -> list[str]:
    """Whether the run was hard enough for its size."""
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
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    given = parser.parse_args()
    run = Run(seed=given.seed, kills=given.kills, patience=120 + 20 * given.kills)
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
