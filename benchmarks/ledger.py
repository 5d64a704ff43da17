"""Measure what rounds cost in the database, how many tiny rounds a second there are, and how that grows with the fleet.

The agents answer at once, so the figures are the server's. Statements and transactions are those of the rounds. Each
round selects from all registered clients.
"""

import argparse
import itertools
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.demo.plane import ENDED
from app.demo.stage import ONE_THREAD, free_port
from benchmarks.arena import Served, Stuck, databases, running, served, wait_for
from benchmarks.machine import Times, cpu_seconds
from benchmarks.memory import is_up, register
from benchmarks.statements import Counts

SETTLED = {
    "TCSFEEL_HEALTH__INTERVAL_SECONDS": "3600",
    "TCSFEEL_COORDINATOR__TICK_SECONDS": "0.05",
}  # no heartbeats here
STATEMENTS = 3.0  # of a round, for each of its clients
TRANSACTIONS, CLIENTS_TOGETHER = 8, 16  # of a round, and one more for each so many clients
ROUNDS = {"sqlite": 25.0, "postgres": 15.0}  # a second, with 10 clients and 1 kB
TINY = (10, 1_000)
GROWTH = 1.2  # the largest cost with the largest fleet, as a multiple of that with the smallest
LOOK_SECONDS = 0.1
WARM_ROUNDS = 3
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured. `server_url` is that of `served`."""

    database: str
    server_url: str | None
    clients: int
    model_bytes: int
    registered: int
    strategy: str

    @property
    def is_tiny(self) -> bool:
        return (self.clients, self.model_bytes) == TINY

    def __str__(self) -> str:
        return f"{self.database:9}{self.strategy:>10}{self.registered:11}{self.clients:8}{self.model_bytes:11,} B"


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a round: seconds, the server's CPU seconds, and what it sends to the database."""

    seconds: float
    cpu: float
    statements: float
    transactions: float

    def __str__(self) -> str:
        return (
            f"{1 / self.seconds:9.1f}{self.seconds * 1000:9.1f} ms{self.cpu * 1000:9.1f} ms"
            f"{self.statements:9.1f}{self.transactions:8.1f}"
        )


def main(arguments: Sequence[str]) -> int:
    """Count the statements and transactions of rounds, and measure tiny rounds; status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ledger", description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 50], help="that each round selects")
    parser.add_argument("--model-bytes", type=int, nargs="+", default=[1_000], help="of the model")
    parser.add_argument("--registered", type=int, nargs="+", default=[100, 10_000], help="clients")
    parser.add_argument("--strategies", nargs="+", default=["random", "tcs-feel"])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--database", choices=["sqlite", "postgres", "all"], default="all")
    options = parser.parse_args(arguments)
    print(f"{'':51}{'rounds/s':>10}{'a round':>12}{'CPU':>12}{'statements':>12}{'transactions':>13}{'a client':>9}")
    verdicts: list[bool] = []
    axes = (options.strategies, options.clients, options.model_bytes)
    with databases(options.database) as servers:
        for (name, url), (strategy, clients, size) in itertools.product(servers.items(), itertools.product(*axes)):
            cases = [Case(name, url, clients, size, registered, strategy) for registered in options.registered]
            costs = [_measured(case, options.rounds) for case in cases]
            verdicts += [verdict for case, cost in zip(cases, costs, strict=True) for verdict in _verdicts(case, cost)]
            if len(costs) > 1:
                growth, (few, *_, many) = costs[-1].cpu / costs[0].cpu, options.registered
                print(f"  a round costs {growth:.2f} times as much with {many} clients as with {few}")
                verdicts.append(growth <= GROWTH)
    print(f"ledger: {sum(verdicts)} of {len(verdicts)} bars are met")
    return 0 if all(verdicts) else 1


def _verdicts(case: Case, cost: Cost) -> Iterator[bool]:
    yield cost.statements <= STATEMENTS * case.clients
    yield cost.transactions <= TRANSACTIONS + case.clients / CLIENTS_TOGETHER
    if case.is_tiny and case.registered == min(100, case.registered):
        yield 1 / cost.seconds >= ROUNDS[case.database]


def _measured(case: Case, rounds: int) -> Cost:
    with _fleet(case) as found:
        _train(found, case, WARM_ROUNDS)
        times, cpu, counts = Times.now(), cpu_seconds(found.server.pid), Counts.read(found.loop)
        seconds = _train(found, case, rounds)
        used, sent = cpu_seconds(found.server.pid) - cpu, Counts.read(found.loop) - counts
        cost = Cost(seconds / rounds, used / rounds, sent.statements / rounds, sent.transactions / rounds)
        print(f"{case}{cost}{cost.statements / case.clients:9.2f}   {times.report(used)}", flush=True)
    return cost


@contextmanager
def _fleet(case: Case) -> Iterator[Served]:
    """Run a control plane with registered clients whose agents answer at once."""
    token, port = secrets.token_urlsafe(16), free_port()
    settings = ONE_THREAD | SETTLED
    with (
        served(server_url=case.server_url, settings=settings, watch="benchmarks.statements") as found,
        running(
            "agents", "benchmarks.quick_fleet:main", str(port), token, str(case.model_bytes // 4),
            directory=found.directory, environment=found.environment,
        ) as agents,
    ):  # fmt: skip
        wait_for(lambda: is_up(agents, port, token))
        for start in range(0, case.registered, BATCH):
            register(found.plane, range(start, min(start + BATCH, case.registered)), port, token)
        yield found


def _train(found: Served, case: Case, rounds: int) -> float:
    """Run a new training, and return the seconds that it took. Raises `Stuck` if a round did not complete."""
    body = {
        "name": "ledger",
        "target_accuracy": 1.0,
        "max_rounds": rounds,
        "selection": {"strategy": case.strategy, "min_clients": case.clients, "max_clients": case.clients},
        "round_policy": {"quorum": 1.0},
        "evaluation": {"clients": 0},
    }
    path = f"/v1/trainings/{found.plane.post('/v1/trainings', body)['id']}"
    began = time.monotonic()
    found.plane.post(f"{path}/start")
    while (training := found.plane.get(path))["status"] not in ENDED:
        time.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - began
    last = found.plane.get(f"{path}/rounds/{rounds}")
    if training["current_round"] != rounds or last["status"] != "completed":
        raise Stuck(f"round {rounds} of {training} is {last['status']}: {last['failure_reason']}")
    return seconds
