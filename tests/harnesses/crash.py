"""Kill, stall and confuse replicas, and check that no round is lost: ``make crash``.

Three replicas drive three trainings at a time, wave after wave, until replicas have been killed as often as asked for.
Then the same waves run without faults. Both runs must have the same history: the same selections, updates and models.

If rounds carry the tasks of slow agents, or if updates travel over relays whose agents are killed as well, no two runs
are the same. Then each model has to be the one that its recorded members make (`explained`).
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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harnesses import faults as points
from tests.harnesses.databases import database_server, new_database
from tests.harnesses.devices import Devices
from tests.harnesses.explained import counts, not_counted, unexplained
from tests.harnesses.faults import Faults
from tests.harnesses.fleet import trained_more_than_once
from tests.harnesses.history import History, differences, problems, read_history
from tests.harnesses.replicas import Replica, Replicas, switched_on
from tests.harnesses.waves import Fleet, Work, at_work, wave

CALM_LEASE_SECONDS = "30"  # no replica dies in this run, and a slow machine must not look like a dead one
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
        work: what is trained.
        lease: the seconds of a lease. Stops and pauses are as long as it takes with leases of 1 s, and longer with it.
    """

    seed: int = 1
    kills: int | None = 200
    waves: int = 1
    work: Work = field(default_factory=Work)
    lease: float = 1.0
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
    """The result of a run. `problems` is empty if everything is correct.

    `devices_killed` counts the agents that were killed, `stale` the updates that count in a later round, and `relayed`
    those that came through a relay.
    """

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
    devices_killed: int = 0
    stale: int = 0
    relayed: int = 0


async def crash(run: Run, directory: Path, server: str | None) -> Outcome:
    """Run with faults, and find the problems that need no comparison with a run without faults."""
    began = time.monotonic()
    faults = Faults(
        switch=directory / "faults",
        record=directory / "record",
        seed=str(run.seed),
        kills=run.kills_at,
        stalls=run.stalls_at,
        stall_seconds=(run.lease - 1 + run.stall_seconds[0], run.lease - 1 + run.stall_seconds[1]),
        stalls_alone=run.stalls_alone,
        repeats=run.repeats_of,
    )
    found: list[str] = []
    async with new_database(server, directory / "database") as url:
        environment = {
            "TCSFEEL_COORDINATOR__TICK_SECONDS": str(run.tick),
            "TCSFEEL_COORDINATOR__LEASE_SECONDS": str(run.lease),
        }
        replicas = Replicas(directory / "replicas", url, faults=faults, mutant=run.mutant, environment=environment)
        async with at_work(replicas, run.work, directory / "agents") as fleet:
            waves, rng = 0, random.Random(run.seed)  # noqa: S311  (chance, not secrets)
            stranger = Stranger(replicas, fleet.devices, rng, run)
            with switched_on(faults) as calm_down:
                enough = asyncio.create_task(_enough(replicas, run.kills, stranger, calm_down))
                try:
                    async with asyncio.timeout(run.patience):
                        while waves < run.waves or not (run.kills is None or enough.done()):
                            waves += 1
                            await wave(fleet.api, run.work, waves)
                except TimeoutError:
                    found.append(f"wave {waves} has not come to its end within {run.patience:.0f} s")
                finally:
                    enough.cancel()
                    await asyncio.gather(enough, return_exceptions=True)
        history = await read_history(url)
    recorded = faults.recorded()
    kills = Counter({point.partition(" ")[2]: n for point, n in recorded.items() if point.startswith("kill ")})
    kills["at random"] = max(0, replicas.ends[-9] - kills.total())
    found += problems(history, replicas.data / "models", whole=run.work.fixed)
    found += [] if run.work.fixed else _of_members(history, replicas, run.work, fleet)
    found += replicas.unhandled()
    found += [f"{count} replicas ended with status {status}" for status, count in replicas.ends.items() if status != -9]
    stale, relayed = counts(history)
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
        trained_again=trained_more_than_once(fleet.learners.values()),
        seconds=time.monotonic() - began,
        devices_killed=len(fleet.absences),
        stale=stale,
        relayed=relayed,
    )


def _of_members(history: History, replicas: Replicas, work: Work, fleet: Fleet) -> list[str]:
    """List what the members of rounds do not explain."""
    trained = {task for learner in fleet.learners.values() for task in learner.trained}
    return unexplained(history, replicas.data / "models", work.numbers, fleet.absences) + not_counted(history, trained)


async def calm(run: Run, waves: int, directory: Path, server: str | None) -> History:
    """Run the same waves without faults."""
    async with new_database(server, directory / "database") as url:
        environment = {"TCSFEEL_COORDINATOR__LEASE_SECONDS": CALM_LEASE_SECONDS}
        replicas = Replicas(directory / "replicas", url, environment=environment)
        async with at_work(replicas, run.work, directory / "agents") as fleet:
            for number in range(1, waves + 1):
                await wave(fleet.api, run.work, number)
        history = await read_history(url)
    if found := problems(history, replicas.data / "models") + replicas.unhandled():
        raise AssertionError(f"even without faults: {found}")
    return history


class Stranger:
    """Sends signals from outside at random times. Most of them kill a replica, some stop it past its lease.

    Devices are killed as often as that, if the agents are devices.
    """

    def __init__(self, replicas: Replicas, devices: Devices | None, rng: random.Random, run: Run) -> None:
        self._replicas = replicas
        self._devices = devices
        self._rng = rng
        self._pause = run.pause and run.pause * run.lease
        self._longer = run.lease - 1.0
        self.freezes = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as freezing:
            if self._devices is not None and self._pause is not None:
                freezing.create_task(self._devices.trouble(self._rng, self._pause))
            while self._pause is not None:
                await asyncio.sleep(self._rng.uniform(0, 2 * self._pause))
                replica: Replica = self._rng.choice(self._replicas.all)
                if self._rng.random() < 0.7:
                    replica.signal(signal.SIGKILL)
                else:
                    self.freezes += 1
                    freezing.create_task(self._replicas.freeze(replica, self._longer + self._rng.uniform(1.2, 2.5)))


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


def report(outcome: Outcome, database: str, found: list[str], *, fixed: bool = True) -> str:
    """Return the last line of the report. `fixed` says whether the models were compared with those without faults."""
    right = "as without faults" if fixed else "explained by its members"
    at = ", ".join(f"{point} {count}" for point, count in sorted(outcome.kills.items()))
    return (
        f"crash on {database}: {outcome.kills.total()} kills ({at}); {outcome.stalls} stalls, "
        f"{outcome.freezes} freezes, {outcome.repeats} repeats; "
        f"{outcome.takeovers} takeovers, {outcome.fenced} fenced; "
        f"{outcome.history.rounds} rounds in {outcome.seconds:.0f} s, {outcome.trained_again} tasks trained again; "
        f"{_of_kind(outcome)}{f'ok, every model {right}' if not found else f'{len(found)} PROBLEMS'}"
    )


def _of_kind(outcome: Outcome) -> str:
    counted = {
        "agents killed": outcome.devices_killed,
        "updates through relays": outcome.relayed,
        "updates in a later round": outcome.stale,
    }
    return "".join(f"{count} {what}; " for what, count in counted.items() if count)


def enough_seen(outcome: Outcome, wanted: int, work: Work) -> list[str]:
    """List the kinds of faults of which there were too few for the size of the run."""
    named = sum(point in points.POINTS for point in outcome.kills)
    return [
        text
        for missing, text in (
            (outcome.kills.total() < wanted, f"only {outcome.kills.total()} kills"),
            (named < min(8, wanted // 8), f"kills at {named} points only"),
            (outcome.fenced < min(10, wanted // 20), f"only {outcome.fenced} fenced writes"),
            (work.carry and outcome.stale < wanted // 4, f"only {outcome.stale} updates in a later round"),
            (work.relay and outcome.relayed < wanted // 4, f"only {outcome.relayed} updates through relays"),
            (work.relay and outcome.devices_killed < wanted // 8, f"only {outcome.devices_killed} agents killed"),
        )
        if missing
    ]


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transport", choices=["push", "pull"], default="push", help="pull: half of the agents pull")
    parser.add_argument("--stragglers", choices=["skip", "carry"], default="skip", help="carry: some agents are slow")
    parser.add_argument("--topology", choices=["star", "relay"], default="star", help="relay: agents are killed, too")
    parser.add_argument("--lease", type=float, default=1.0, help="seconds of a lease, more on a machine that is busy")
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    given = parser.parse_args()
    if given.stragglers == "carry" and given.topology == "relay":
        parser.error("a training cannot carry the tasks of stragglers over relays")
    carry, relay = given.stragglers == "carry", given.topology == "relay"
    work = Work(rounds=8 if carry else 6, pull=given.transport == "pull", carry=carry, relay=relay)
    run = Run(
        seed=given.seed, kills=given.kills, patience=120 + 20 * given.lease * given.kills, work=work, lease=given.lease
    )
    with database_server(given.database) as server, contextlib.ExitStack() as stack:
        directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-crash-")))
        outcome = await crash(run, directory / "crash", server)
        found = outcome.problems + enough_seen(outcome, given.kills, work)
        if work.fixed:
            without = await calm(run, outcome.waves, directory / "calm", server)
            found += differences(outcome.history, without)
    for problem in found[:50]:
        print(f"  {problem}")
    print(report(outcome, given.database, found, fixed=work.fixed))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
