"""Compare the cost of a fit round with that of Flower and of a floor: wall time, and CPU and memory of the server.

The trainers only add noise, the same on both sides, and there is no evaluation. All systems take turns on the same
machine, with some rounds each, and with as many processes for the clients. Ours is the whole product: authentication,
selection, breakers, checks of every update, and a database. Flower's round is measured in its strategy, from the call
of ``configure_fit`` to the end of ``aggregate_fit``. The floor (`benchmarks.floor`) only exchanges and hashes bytes.
"""

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arena import BYTES_PER_FLOAT, Arena, arena, databases
from benchmarks.machine import Times, Usage, cpu_seconds
from benchmarks.peers import MISSING, PYTHON, Cost, floor, grpc_server, superlink_rounds
from benchmarks.spending import Spent

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


BARS = {
    (50, 1_000_000): Ratios(1.8, 1.8, 0.0),
    (50, 10_000_000): Ratios(1.8, 2.5, 5.0),
    (1000, 100_000): Ratios(2.0, 0.0, 0.0),
}
FLOOR = 2.0  # how many times as much CPU as the floor our round may take with `FLOOR_BYTES`
FLOOR_BYTES = 10_000_000
HEADINGS = (
    f"{'database':9}{'clients':>8}{'model':>13}{'ours':^29}{'Flower':^29}{'floor':^29}"
    f"{'wall':>6}{'CPU':>8}{'memory':>8}{'of the floor':>14}"
)


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
        return arena(
            clients=self.clients,
            model_bytes=self.model_bytes,
            server_url=self.server_url,
            watch="benchmarks.spending",
        )

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
        "fit rounds: seconds, the coordinator's CPU seconds, its memory at the peak; Flower's as multiples of ours, "
        "and our CPU as a multiple of the floor's"
    )
    if flower is None:
        print(MISSING)
    print(HEADINGS)
    slowest, verdicts = 0.0, list[bool]()
    with databases(options.database) as servers:
        for name, server_url in servers.items():
            cases = [
                Case(name, server_url, clients, size) for clients in options.clients for size in options.model_bytes
            ]
            for case in cases:
                compared = _compare(case, flower, turns=options.turns, rounds=options.rounds)
                slowest = max(slowest, compared.ours.wall)
                verdicts += compared.verdicts(case)
            if flower is not None and options.superlink:
                case = Case(name, server_url, options.superlink, MODEL_BYTES[0])
                verdicts.append(_against_superlink(case, flower, options.rounds))
    print(f"round: the slowest median is {slowest:.3f} s; {sum(verdicts)} of {len(verdicts)} bars are met")
    return 0 if all(verdicts) else 1


@dataclass(frozen=True, slots=True)
class Compared:
    """The costs of a case, and Flower's divided by ours if Flower is installed."""

    ours: Side
    floor: Side
    ratios: Ratios | None

    @property
    def of_floor(self) -> float:
        """Return our CPU seconds divided by those of the floor."""
        return self.ours.cpu / self.floor.cpu if self.floor.cpu else math.inf

    def verdicts(self, case: Case) -> Iterator[bool]:
        """Tell for each bar of the case whether it is met."""
        bar = BARS.get((case.clients, case.model_bytes))
        if self.ratios is not None and bar is not None:
            yield self.ratios.reach(bar)
        if case.model_bytes == FLOOR_BYTES:
            yield self.of_floor <= FLOOR


def _compare(case: Case, flower: Path | None, *, turns: int, rounds: int) -> Compared:
    """Let all sides take turns, and print their costs."""
    with ExitStack() as stack:
        found = stack.enter_context(case.arena())
        lowest = stack.enter_context(floor(clients=case.clients, size=case.model_bytes, directory=found.directory))
        peers = [lowest]
        if flower is not None:
            server = grpc_server(flower, clients=case.clients, floats=case.floats, directory=found.directory)
            peers.append(stack.enter_context(server))
        for peer in peers:
            peer.train(1)
        found.train(1)  # the first round opens the connections
        pids = found.cpu_pids() + [pid for peer in peers for pid in peer.pids]
        times, before = Times.now(), sum(map(cpu_seconds, pids))
        costs: list[Cost] = []
        spent: list[Spent] = []
        theirs: list[list[Cost]] = [[] for _ in peers]
        for _ in range(turns):
            began = Spent.read(found.loop, found.server.pid)
            costs.append(_train(found, rounds))
            spent.append(Spent.read(found.loop, found.server.pid) - began)
            for peer, listed in zip(peers, theirs, strict=True):
                listed.append(peer.train(rounds))
        machine = times.report(sum(map(cpu_seconds, pids)) - before)
        ours = Side.of(costs, Usage.of(found.server.pid).peak)
        base, *others = (Side.of(listed, peer.peak()) for peer, listed in zip(peers, theirs, strict=True))
    other = others[0] if others else None
    ratios = None if other is None else Ratios(other.wall / ours.wall, other.cpu / ours.cpu, other.peak / ours.peak)
    compared = Compared(ours, base, ratios)
    print(f"{case}  {ours}{other or ''!s:29}{base}{ratios or ''!s:24}{compared.of_floor:14.2f}   {machine}")
    print(f"  {_each(case, spent, rounds)}", flush=True)
    return compared


def _each(case: Case, spent: Sequence[Spent], rounds: int) -> str:
    """Say what a client took in a round, from what each turn took."""
    each = [sum(getattr(one, name) for one in spent) / len(spent) / rounds / case.clients for name in Spent.__slots__]
    statements, transactions, calls, in_files = each
    return (
        f"for each client: {calls:.2f} calls, {statements:.2f} statements, {transactions:.2f} transactions; "
        f"{in_files / case.model_bytes:.2f} bytes read from files and written to files for each byte of the model"
    )


def _train(found: Arena, rounds: int) -> Cost:
    seconds, cpu = found.trained(rounds, evaluate=False)
    return Cost(seconds, cpu / rounds)


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
