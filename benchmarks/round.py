"""Compare the cost of a fit round with Flower's: wall time, CPU seconds of the server, and its memory at the peak.

The trainers only add noise, the same on both sides, and there is no evaluation. Both systems take turns on the same
machine, with some rounds each, and with as many processes for the clients. Ours is the whole product: authentication,
selection, breakers, checks of every update, and a database. Flower's round is measured in its strategy, from the call
of ``configure_fit`` to the end of ``aggregate_fit``.
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arena import BYTES_PER_FLOAT, Arena, arena, databases
from benchmarks.machine import Times, Usage, cpu_seconds
from benchmarks.peers import MISSING, PYTHON, Cost, GrpcServer, grpc_server, superlink_rounds

CLIENTS = (10, 50)
MODEL_BYTES = (1_000_000, 10_000_000)
SUPERLINK_TIMES = 20.0  # how many times as long as ours a SuperLink's round has to take


@dataclass(frozen=True, slots=True)
class Ratios:
    """Flower's cost divided by ours: seconds, CPU seconds, memory."""

    wall: float
    cpu: float
    memory: float

    def reach(self, bar: "Ratios") -> bool:
        return self.wall >= bar.wall and self.cpu >= bar.cpu and self.memory >= bar.memory

    def __str__(self) -> str:
        return f"{self.wall:8.2f}{self.cpu:8.2f}{self.memory:8.2f}"


BARS = {(50, 1_000_000): Ratios(2.5, 3.0, 0.0), (50, 10_000_000): Ratios(1.5, 2.0, 5.0)}


@dataclass(frozen=True, slots=True)
class Side:
    """The medians of one system: seconds and CPU seconds of a round, and MB at the peak."""

    wall: float
    cpu: float
    peak: float

    @classmethod
    def of(cls, costs: Sequence[Cost], peak: float) -> "Side":
        wall = statistics.median(second for cost in costs for second in cost.seconds)
        return cls(wall, statistics.median(cost.cpu for cost in costs), peak)

    def __str__(self) -> str:
        return f"{self.wall:8.3f} s{self.cpu:7.3f} s{self.peak:6.0f} MB"


@dataclass(frozen=True, slots=True)
class Case:
    """A case that is measured. `server_url` is that of `arena`."""

    database: str
    server_url: str | None
    clients: int
    model_bytes: int

    @property
    def floats(self) -> int:
        return math.ceil(self.model_bytes / BYTES_PER_FLOAT)

    def arena(self) -> AbstractContextManager[Arena]:
        return arena(clients=self.clients, model_bytes=self.model_bytes, server_url=self.server_url)

    def __str__(self) -> str:
        return f"{self.database:9}{self.clients:8}{self.model_bytes:11,} B"


def main(arguments: Sequence[str]) -> int:
    """Compare wall time, CPU time and memory of a round with Flower's; status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks round", description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--model-bytes", type=int, nargs="+", default=MODEL_BYTES)
    parser.add_argument("--rounds", type=int, default=5, help="in a turn")
    parser.add_argument("--turns", type=int, default=4, help="of each side; the medians are over all of them")
    parser.add_argument("--database", choices=["sqlite", "postgres", "all"], default="all")
    parser.add_argument("--flower", type=Path, default=PYTHON, help="the Python that has Flower")
    parser.add_argument("--superlink", type=int, default=4, metavar="CLIENTS", help="of a SuperLink; 0 for none")
    options = parser.parse_args(arguments)
    flower = options.flower if options.flower.exists() else None
    print(
        "fit rounds: seconds, the coordinator's CPU seconds, its memory at the peak; and Flower's as multiples of ours"
    )
    if flower is None:
        print(MISSING)
    print(f"{'database':9}{'clients':>8}{'model':>13}{'ours':^29}{'Flower':^29}{'wall':>6}{'CPU':>8}{'memory':>8}")
    slowest, verdicts = 0.0, []
    with databases(options.database) as servers:
        for name, server_url in servers.items():
            cases = [
                Case(name, server_url, clients, size) for clients in options.clients for size in options.model_bytes
            ]
            for case in cases:
                ours, ratios = _compare(case, flower, turns=options.turns, rounds=options.rounds)
                slowest = max(slowest, ours.wall)
                bar = BARS.get((case.clients, case.model_bytes))
                if ratios is not None and bar is not None:
                    verdicts.append(ratios.reach(bar))
            if flower is not None and options.superlink:
                case = Case(name, server_url, options.superlink, MODEL_BYTES[0])
                verdicts.append(_against_superlink(case, flower, options.rounds))
    print(f"round: the slowest median is {slowest:.3f} s; {sum(verdicts)} of {len(verdicts)} bars are met")
    return 0 if all(verdicts) else 1


def _compare(case: Case, flower: Path | None, *, turns: int, rounds: int) -> tuple[Side, Ratios | None]:
    """Return our cost, and Flower's divided by ours if Flower is installed."""
    peer: GrpcServer | None = None
    with ExitStack() as stack:
        found = stack.enter_context(case.arena())
        if flower is not None:
            server = grpc_server(flower, clients=case.clients, floats=case.floats, directory=found.directory)
            peer = stack.enter_context(server)
            peer.train(1)
        found.train(1)  # the first round opens the connections
        pids = found.cpu_pids() + ([] if peer is None else peer.pids)
        times, before = Times.now(), sum(map(cpu_seconds, pids))
        costs: list[Cost] = []
        theirs: list[Cost] = []
        for _ in range(turns):
            costs.append(_train(found, rounds))
            if peer is not None:
                theirs.append(peer.train(rounds))
        machine = times.report(sum(map(cpu_seconds, pids)) - before)
        ours = Side.of(costs, Usage.of(found.server.pid).peak)
        other = None if peer is None else Side.of(theirs, peer.peak())
    ratios = None if other is None else Ratios(other.wall / ours.wall, other.cpu / ours.cpu, other.peak / ours.peak)
    print(f"{case}  {ours}{other or ''!s:29}{ratios or ''!s:24}   {machine}", flush=True)
    return ours, ratios


def _train(found: Arena, rounds: int) -> Cost:
    before = cpu_seconds(found.server.pid)
    seconds = found.train(rounds, evaluate=False)
    return Cost(seconds, (cpu_seconds(found.server.pid) - before) / rounds)


def _against_superlink(case: Case, flower: Path, rounds: int) -> bool:
    """Measure our rounds before and after theirs, and tell whether the bar is reached."""
    times = Times.now()
    with case.arena() as found:
        found.train(1)
        ours = found.train(rounds, evaluate=False)
        theirs = superlink_rounds(
            flower, clients=case.clients, floats=case.floats, rounds=rounds, directory=found.directory
        )
        ours += found.train(rounds, evaluate=False)
    wall, other = statistics.median(ours), statistics.median(theirs)
    print(
        f"{case}  {wall:8.3f} s, a SuperLink's {other:.2f} s: {other / wall:.1f} times (bar {SUPERLINK_TIMES:g}); "
        f"load {times.report(0.0).rpartition(' ')[2]}",
        flush=True,
    )
    return other / wall >= SUPERLINK_TIMES
