"""Measure work on many links: betweenness compared with networkx and igraph, and the upload of a matrix.

There are two bars. The betweenness of 1 000 clients that are all linked is computed 100 times faster than by networkx,
with the same numbers, also if paths are equally long. And a matrix of 3 000 clients is uploaded as safetensors 100
times faster than as JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import igraph
import networkx as nx
import numpy as np
import numpy.typing as npt

from benchmarks.arena import Served, served
from benchmarks.fleet import client_id
from benchmarks.machine import Times, cpu_seconds
from tcsfeel.network.centrality import betweenness, positive, prepare
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.wire.codec import MEDIA_TYPE, encode

FASTER_THAN_NETWORKX = 100.0
FASTER_THAN_JSON = 100.0
SAME = 1e-9
WHOLE = 500  # nodes, up to which networkx computes everything
SIDE = 1000.0  # meters, the side of the square in which the clients lie
FADING = 0.5  # standard deviation of the logarithm of the factor by which obstacles make a distance longer
STEP = 20.0  # meters; with distances in whole steps, many paths cost the same
PATIENCE = 600.0  # seconds for one request
SETTLED = {"TCSFEEL_HEALTH__INTERVAL_SECONDS": "3600"}  # no client sends heartbeats here

Costs = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Central:
    """The seconds for the betweenness of a graph, and the largest difference to another result."""

    ours: float
    igraph: float
    networkx: float
    difference: float


def main(arguments: Sequence[str]) -> int:
    """Compare betweenness with networkx and igraph, and safetensors with JSON; status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks topology", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 500, 1000], help="nodes of the dense graphs")
    parser.add_argument(
        "--sources", type=int, default=20, help=f"that networkx starts from above {WHOLE} nodes, 0 for all (an hour)"
    )
    parser.add_argument("--matrix", type=int, default=3000, help="clients of the matrix that is put")
    parser.add_argument("--changes", type=int, default=10, help="links of one patch")
    parser.add_argument("--repeats", type=int, default=5, help="the medians are over these")
    options = parser.parse_args(arguments)
    prepare()
    print(f"{'betweenness':24}{'ours':>10}{'igraph':>10}{'networkx':>11}{'ratio':>8}{'ratio':>8}   differ by")
    found = [
        _central(size, tied, options.sources, options.repeats)
        for size in options.sizes
        for tied in ("distances", "tied costs")
    ]
    ratio = min(central.networkx / central.ours for central in found[-2:])
    difference = max(central.difference for central in found)
    with served(settings=SETTLED) as plane:
        faster = _ingest(plane, options.matrix, options.changes, options.repeats)
    met = ratio >= FASTER_THAN_NETWORKX and difference <= SAME and faster >= FASTER_THAN_JSON
    print(
        f"topology: betweenness of {options.sizes[-1]} clients {ratio:.0f} times faster than networkx (bar "
        f"{FASTER_THAN_NETWORKX:.0f}), apart by {difference:.1g} at most (bar {SAME:g}); a {options.matrix} x "
        f"{options.matrix} matrix as safetensors {faster:.1f} times faster than as JSON (bar {FASTER_THAN_JSON:.0f}): "
        f"{'all met' if met else 'not all met'}"
    )
    return 0 if met else 1


def dense(size: int, *, tied: bool = False) -> Costs:
    """Make the costs between clients in a plane, which are all linked: distances with obstacles, or in whole steps."""
    rng = np.random.default_rng(size)
    places = rng.uniform(0, SIDE, (size, 2))
    distances = np.linalg.norm(places[:, np.newaxis] - places, axis=-1)
    costs = np.triu(distances * rng.lognormal(0, FADING, (size, size)), 1)
    costs = np.ceil(costs / STEP) if tied else costs / SIDE
    return np.asarray(costs + costs.T, dtype=np.float32)


def _central(size: int, kind: str, sources: int, repeats: int) -> Central:
    links = Connectivity.from_matrix(map(client_id, range(size)), dense(size, tied=kind == "tied costs"))
    half = positive(links.costs).tocoo()
    once = half.row < half.col
    ends, costs = np.stack([half.row[once], half.col[once]], axis=1), half.data[once].tolist()
    ours, central = _timed(lambda: betweenness(links.costs), repeats)
    reference = igraph.Graph(n=size, edges=ends)
    by_igraph, values = _timed(lambda: reference.betweenness(weights=costs), 1)
    difference = float(np.abs(np.array(values) * 2 / ((size - 1) * (size - 2)) - central).max())
    graph = nx.Graph()
    graph.add_nodes_from(range(size))
    graph.add_weighted_edges_from((*pair, cost) for pair, cost in zip(ends.tolist(), costs, strict=True))
    some = size > WHOLE and 0 < sources < size
    first = sources if some else size
    by_networkx, known = _timed(lambda: nx.betweenness_centrality(graph, weight="weight", k=first, seed=1), 1)
    by_networkx *= size / first
    if not some:
        difference = max(difference, float(np.abs(np.array([known[node] for node in range(size)]) - central).max()))
    print(
        f"  {size:5} {kind:16}{ours:8.3f} s{by_igraph:8.2f} s{by_networkx:9.1f} s{by_igraph / ours:8.1f}"
        f"{by_networkx / ours:8.0f}   {difference:.1g}"
        + (f" (igraph; networkx from {first} sources, times {size / first:g})" if some else ""),
        flush=True,
    )
    return Central(ours, by_igraph, by_networkx, difference)


def _ingest(plane: Served, size: int, changes: int, repeats: int) -> float:
    """Return how many times faster a matrix is uploaded as safetensors than as JSON."""
    names = list(map(client_id, range(size)))
    profile = {"url": "http://127.0.0.1:9", "data_size": 100, "compute_capacity": 1, "bandwidth": 10, "latency": 10}
    plane.plane.post("/v1/clients/batch", {"clients": [{"id": name, **profile} for name in names]})
    costs = dense(size)
    binary = encode({"costs": costs}, {"client_ids": json.dumps(names)})
    text = json.dumps({"client_ids": names, "costs": costs.tolist()}).encode()
    rng = np.random.default_rng(1)
    key = plane.key_file.read_text().strip()
    with httpx2.Client(
        base_url=plane.plane.url, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE, trust_env=False
    ) as http:

        def put(content: bytes, kind: str) -> None:
            http.put("/v1/connectivity", content=content, headers={"Content-Type": kind}).raise_for_status()

        def patch(cost: float | None) -> None:
            pairs = rng.choice(size, (changes, 2), replace=False)
            edges = [{"source": names[one], "target": names[other], "cost": cost} for one, other in pairs.tolist()]
            http.patch("/v1/connectivity", json={"edges": edges}).raise_for_status()

        print(f"\n{f'{size} x {size} over HTTP, SQLite':40}{'median':>9}{'CPU':>9}   machine")
        as_binary = _request(
            plane, f"PUT safetensors, {len(binary) / 1e6:.0f} MB", lambda: put(binary, MEDIA_TYPE), repeats
        )
        as_text = _request(plane, f"PUT JSON, {len(text) / 1e6:.0f} MB", lambda: put(text, "application/json"), repeats)
        _request(plane, f"PATCH, {changes} links get another cost", lambda: patch(0.5), repeats)
        _request(plane, f"PATCH, {changes} links go", lambda: patch(None), repeats)
        kept = http.get("/v1/connectivity", headers={"Accept": MEDIA_TYPE})
        print(f"  read back as {len(kept.content) / 1e6:.0f} MB in {kept.elapsed.total_seconds():.2f} s")
    return as_text / as_binary


def _request(plane: Served, name: str, call: Callable[[], None], repeats: int) -> float:
    """Return the median seconds, and print them with the server's CPU seconds for each call."""
    times, cpu = Times.now(), cpu_seconds(plane.server.pid)
    seconds, _ = _timed(call, repeats)
    used = cpu_seconds(plane.server.pid) - cpu
    print(f"  {name:38}{seconds:7.3f} s{used / repeats:7.3f} s   {times.report(used)}", flush=True)
    return seconds


def _timed(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the median seconds, and the result of the last call."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        value = call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken), value
