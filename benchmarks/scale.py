"""Measure how long a selection takes for fleets of different sizes, in the library and over REST.

The bars are for every strategy without relays, for the first selection with a matrix and for later ones: 0.1 s for 50
of 500 clients, 1.5 s for 50 of 10 000 clients with links to their 16 nearest, and a time that grows about in proportion
to the number of clients. The bars for the recipes are for later selections of 10 clients together with the weights of
their updates, in CPU time: 0.1 s with 500 clients and 1 s with 10 000.
"""

import argparse
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import httpx2
import numpy as np
from scipy.spatial import cKDTree

from app.domain.balance import balanced_within_bounds
from app.domain.weighing import believable_skew
from benchmarks.arena import Served, databases, served
from benchmarks.fleet import client_id
from benchmarks.machine import Times, cpu_seconds
from tcsfeel.aggregation.config import AggregationConfig
from tcsfeel.contract.recipes import RECIPES
from tcsfeel.network.centrality import prepare
from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.selection import STRATEGIES, Candidate, History, SelectionPolicy, Weights, select

SECONDS = {500: 0.1, 10_000: 1.5}
RECIPE_SECONDS = {500: 0.1, 10_000: 1.0}  # of CPU
GROWTH = 1.2  # the largest exponent of the number of clients
FIXED = 500  # clients, from which on the same number is selected
CHOSEN, CHOSEN_OF_FEW = 50, 10
NEIGHBOURS = 16
LABELS, SKEW = 10, 0.3  # Dirichlet
PAST_ROUNDS = 50
SIDE = 1000.0  # meters, the side of the square in which the clients lie
PER_METRE = 1e-3  # s/MB
PATIENCE = 600.0  # seconds for one request
PAUSE = 0.005  # seconds between two requests of another caller
SETTLED = {"TCSFEEL_HEALTH__INTERVAL_SECONDS": "3600"}  # no client sends heartbeats here


@dataclass(frozen=True, slots=True)
class World:
    """A fleet with its links and its past rounds."""

    candidates: list[Candidate]
    edges: list[Edge]
    history: History

    def connectivity(self) -> Connectivity:
        """Make a new connectivity each time, for which nothing is cached yet."""
        return Connectivity.from_edges([one.client_id for one in self.candidates], self.edges)


@dataclass(frozen=True, slots=True)
class Seconds:
    """The seconds of a selection: of the first one with a matrix, and the median of later ones."""

    first: float
    warm: float


def main(arguments: Sequence[str]) -> int:
    """Measure the time of a selection by the number of clients; status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 500, 5000, 10_000], help="clients")
    parser.add_argument("--strategies", nargs="+", choices=list(STRATEGIES), default=list(STRATEGIES))
    parser.add_argument("--repeats", type=int, default=5, help="the medians are over these")
    parser.add_argument("--database", choices=["sqlite", "postgres", "all"], default="sqlite")
    options = parser.parse_args(arguments)
    prepare()
    worlds = {size: world(size) for size in options.sizes}
    print(f"{'selection, s':24}" + "".join(f"{f'N = {size}':>18}" for size in worlds) + "   growth")
    print(f"{'':24}" + f"{'first':>10}{'warm':>8}" * len(worlds))
    found = {
        name: _row(name, {size: _domain(name, "star", one, options.repeats) for size, one in worlds.items()})
        for name in options.strategies
    }
    relays = {size: _domain("tcs-feel", "relay", one, options.repeats) for size, one in worlds.items()}
    _row("tcs-feel, relays", relays)
    recipes = {
        name: _row(f"recipe {name}, CPU", {size: _recipe(name, one, options.repeats) for size, one in worlds.items()})
        for name in ("tcs-feel", "tcs-feel-relay")
    }
    with databases(options.database) as servers:
        for name, server_url in servers.items():
            over_rest = {size: _over_rest(one, server_url, options.repeats) for size, one in worlds.items()}
            _row(f"POST, tcs-feel, {name}", over_rest)
    later = {name: {size: Seconds(one.warm, one.warm) for size, one in row.items()} for name, row in recipes.items()}
    return max(_verdict("selection", found, SECONDS), _verdict("later round of a recipe", later, RECIPE_SECONDS))


def world(size: int) -> World:
    """Make clients in a plane with links to the nearest ones, few labels each, and a history of random rounds."""
    rng = np.random.default_rng(size)
    names = list(map(client_id, range(size)))
    candidates = [
        Candidate(
            client_id=name,
            data_size=int(rng.integers(50, 500)),
            data_distribution=rng.dirichlet(np.full(LABELS, SKEW)).tolist(),
            compute_capacity=float(rng.uniform(1, 10)),
            bandwidth=float(rng.uniform(5, 100)),
            latency=float(rng.uniform(1, 80)),
            reliability=float(rng.uniform(0.7, 1)),
        )
        for name in names
    ]
    places = rng.uniform(0, SIDE, (size, 2))
    metres, nearest = cKDTree(places).query(places, k=min(NEIGHBOURS + 1, size))
    edges = {
        (min(one, other), max(one, other)): far * PER_METRE
        for one, (row, others) in enumerate(zip(metres.tolist(), nearest.tolist(), strict=True))
        for far, other in zip(row, others, strict=True)
        if one != other
    }
    past = (frozenset(rng.choice(names, chosen_of(size), replace=False).tolist()) for _ in range(PAST_ROUNDS))
    return World(
        candidates,
        [Edge(names[one], names[other], cost) for (one, other), cost in edges.items()],
        History(tuple(past)),
    )


def chosen_of(size: int) -> int:
    """Return how many of `size` clients are selected."""
    return CHOSEN if size >= FIXED else CHOSEN_OF_FEW


def _domain(strategy: str, topology: Literal["star", "relay"], one: World, repeats: int) -> Seconds:
    links, number = one.connectivity(), chosen_of(len(one.candidates))
    policy = SelectionPolicy(min_clients=number, max_clients=number, topology=topology)

    def plan() -> None:
        selection = select(strategy, one.candidates, links, one.history, policy, np.random.default_rng(1))
        assert len(selection.selected) == number

    return _timed(plan, repeats)


def _recipe(recipe: str, one: World, repeats: int) -> Seconds:
    """Measure the CPU seconds of a recipe's selection and of the weights, as if every update had arrived."""
    fields, links = RECIPES[recipe], one.connectivity()
    policy = SelectionPolicy(
        min_clients=CHOSEN_OF_FEW,
        max_clients=CHOSEN_OF_FEW,
        topology=fields["topology"],
        weights=Weights(**fields["selection"]["weights"]),
    )
    config = AggregationConfig(aggregation=fields["aggregation"], hyperparameters=fields["hyperparameters"])
    places = {candidate.client_id: place for place, candidate in enumerate(one.candidates)}

    def plan() -> None:
        rng = np.random.default_rng(1)
        parents = select(fields["selection"]["strategy"], one.candidates, links, one.history, policy, rng).plan.parents
        members = [places[client_id] for client_id in parents]
        above = [parent or client_id for client_id, parent in parents.items()]
        numbers = {client_id: number for number, client_id in enumerate(dict.fromkeys(above))}
        examples = [one.candidates[member].data_size for member in members]
        means = [numbers[client_id] for client_id in above]
        weights = balanced_within_bounds(examples, believable_skew(one.candidates)[members], config, means)
        assert len(weights) == CHOSEN_OF_FEW

    return _timed(plan, repeats, time.process_time)


def _over_rest(one: World, server_url: str | None, repeats: int) -> Seconds:
    """Measure ``POST /v1/selections`` at a server with these clients. It plans without a history."""
    size, number = len(one.candidates), chosen_of(len(one.candidates))
    body = {"strategy": "tcs-feel", "min_clients": number, "max_clients": number}
    with served(server_url=server_url, settings=SETTLED) as plane, _client(plane) as http:

        def call(method: str, path: str, content: object) -> Any:
            return http.request(method, path, json=content).raise_for_status().json()

        call("POST", "/v1/clients/batch", {"clients": [_registered(candidate) for candidate in one.candidates]})
        edges = [edge._asdict() for edge in one.edges]
        call("PUT", "/v1/connectivity", {"edges": edges})
        inside = []

        def plan() -> None:
            answer = call("POST", "/v1/selections", body)
            assert (len(answer["selected"]), len(answer["skipped"])) == (number, size - number)
            inside.append(answer["duration_ms"] / 1000)

        first = _once(plan)
        times, cpu = Times.now(), cpu_seconds(plane.server.pid)
        with _others(plane) as latencies:
            seconds = Seconds(first, statistics.median(_once(plan) for _ in range(repeats)))
        used = cpu_seconds(plane.server.pid) - cpu
        print(
            f"  of {seconds.warm:.3f} s over REST at N = {size}, "
            f"{statistics.median(inside[1:]):.3f} s are the strategy's; "
            f"{used / repeats:.3f} s of the server's CPU each; meanwhile GET /v1/clients/{{id}} takes "
            f"{statistics.median(latencies) * 1000:.0f} ms, at most {max(latencies) * 1000:.0f} ms; "
            f"{times.report(used)}",
            flush=True,
        )
        return seconds


@contextmanager
def _others(plane: Served) -> Iterator[list[float]]:
    """Read one client after the other as another caller, and add the seconds of each call to the list."""
    latencies: list[float] = []
    done = threading.Event()

    def ask() -> None:
        with _client(plane) as http:
            while not (latencies and done.wait(PAUSE)):
                started = time.perf_counter()
                http.get(f"/v1/clients/{client_id(0)}").raise_for_status()
                latencies.append(time.perf_counter() - started)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield latencies
        finally:
            done.set()
            asking.result()


def _client(plane: Served) -> httpx2.Client:
    return httpx2.Client(
        base_url=plane.plane.url,
        headers={"Authorization": f"Bearer {plane.key_file.read_text().strip()}"},
        timeout=PATIENCE,
        trust_env=False,
    )


def _registered(candidate: Candidate) -> dict[str, Any]:
    values = asdict(candidate)
    claims = ("data_size", "data_distribution", "compute_capacity", "bandwidth", "latency", "reliability")
    return {"id": candidate.client_id, "url": "http://127.0.0.1:9"} | {name: values[name] for name in claims}


def _timed(call: Callable[[], None], repeats: int, clock: Callable[[], float] = time.perf_counter) -> Seconds:
    return Seconds(_once(call, clock), statistics.median(_once(call, clock) for _ in range(repeats)))


def _once(call: Callable[[], None], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    call()
    return clock() - started


def _row(name: str, seconds: dict[int, Seconds]) -> dict[int, Seconds]:
    figures = "".join(f"{one.first:10.3f}{one.warm:8.3f}" for one in seconds.values())
    print(f"  {name:22}{figures}   {_growth(seconds):6.2f}", flush=True)
    return seconds


def _growth(seconds: dict[int, Seconds]) -> float:
    """Return the exponent of N in the time of later selections, over the sizes with as many selected ones."""
    alike = [size for size in seconds if size >= FIXED]
    if len(alike) < 2:
        return math.nan
    return float(np.polyfit(np.log(alike), np.log([seconds[size].warm for size in alike]), 1)[0])


def _verdict(what: str, found: dict[str, dict[int, Seconds]], bars: Mapping[int, float]) -> int:
    """Print a line with the verdict, and return the exit status."""
    told, met = [], True
    for size, bar in bars.items():
        measured = [(max(one[size].first, one[size].warm), name) for name, one in found.items() if size in one]
        if measured:
            slowest, name = max(measured)
            met &= slowest <= bar
            told.append(f"{slowest:.3f} s at N = {size} ({name}; bar {bar:g} s)")
    growths = [(exponent, name) for name, one in found.items() if not math.isnan(exponent := _growth(one))]
    if growths:
        steepest, name = max(growths)
        met &= steepest <= GROWTH
        told.append(f"growing as N to the {steepest:.2f} ({name}; bar {GROWTH:g})")
    most = f"takes at most {', '.join(told)}: {'all met' if met else 'not all met'}"
    print(f"scale: one {what} {most if told else 'was measured with no number of clients that has a bar'}")
    return 0 if met else 1
