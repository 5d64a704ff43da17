"""Measure for how long the largest legal calls hold the event loop of a server, and how much memory each of them adds.

The bar is 50 ms. The calls are sent one after the other to a server in a process of its own. A call that can be
repeated is sent `--repeats` times. Each time the longest hold is taken, and the shortest of these counts, because other
work on the machine can only make a hold longer.
"""

import argparse
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.arena import Served, databases, served
from benchmarks.beats import Hold, holds
from benchmarks.machine import Usage
from benchmarks.scale import PATIENCE, SETTLED
from tcsfeel.selection import STRATEGIES

BAR = 0.050
MANY, LABELS_OF_MANY = 10_000, 100  # of one batch, with as many labels as it may have
WIDE, LABELS_OF_WIDE = 10_000, 1000  # in ten batches
DENSE = 1500  # clients of a full matrix
NEAREST = 16  # links of each client in a sparse matrix
LONGEST_LIST = 10_000  # labels of one client
PAUSE = 0.1  # seconds before and after a call


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `repeats` says whether it can be repeated."""

    name: str
    method: str
    path: str
    body: bytes | None = None
    repeats: bool = True
    expected: int = 2  # hundred


@dataclass(frozen=True, slots=True)
class Held:
    """The effect of a call."""

    longest: Hold
    seconds: float
    memory: float
    peak: float


def main(arguments: Sequence[str]) -> int:
    """Measure how long the largest legal calls hold the event loop; status 1 if one holds it for more than 50 ms."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks holds", description=__doc__)
    parser.add_argument("--clients", type=int, default=MANY, help="of a fleet")
    parser.add_argument("--labels", type=int, default=LABELS_OF_WIDE, help="of a client of the second fleet")
    parser.add_argument("--dense", type=int, default=DENSE, help="clients of a full matrix")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fleets", nargs="+", choices=["many", "wide"], default=["many", "wide"])
    parser.add_argument("--only", default="", metavar="PATTERN", help="leave out other calls that can be repeated")
    parser.add_argument("--database", choices=["sqlite", "postgres", "all"], default="sqlite")
    options = parser.parse_args(arguments)
    worst = Hold()
    with databases(options.database) as servers:
        for database, server_url in servers.items():
            for fleet in options.fleets:
                calls = _many(options.clients, options.dense) if fleet == "many" else _wide(options)
                print(f"{database}, {fleet}{'':33}held ms   own ms  garbage        s     +MB  peak MB")
                with served(server_url=server_url, settings=SETTLED, watch="benchmarks.beats") as plane:
                    for call in calls:
                        if call.repeats and not re.search(options.only, call.name):
                            continue
                        held = _measured(plane, call, options.repeats)
                        worst = max(worst, held.longest)
                        _row(call.name, held)
    met = worst.seconds <= BAR
    print(
        f"holds: the longest is {worst.seconds * 1000:.0f} ms (bar {BAR * 1000:.0f} ms): {'met' if met else 'missed'}"
    )
    return 0 if met else 1


def _many(clients: int, dense: int) -> Iterator[Call]:
    """Yield the calls for a fleet that is registered by one body."""
    names = [f"many-{number:05}" for number in range(clients)]
    tags = {"site": "north", "note": "x" * 200}
    fleet = [_client(name, list(range(1, LABELS_OF_MANY + 1)), tags) for name in names]
    yield Call("POST clients/batch", "POST", "/v1/clients/batch", _text({"clients": fleet}), repeats=False)
    yield Call("POST clients/batch again", "POST", "/v1/clients/batch", _text({"clients": fleet}), expected=4)
    yield Call("GET clients", "GET", "/v1/clients?limit=1000")
    yield Call("GET clients by tag", "GET", "/v1/clients?limit=1000&tag=site:north&status=healthy")
    longest = _client("long", list(range(1, LONGEST_LIST + 1)), tags)
    yield Call("PUT client, many labels", "PUT", "/v1/clients/long", _text(longest))
    named = {f"{'label ' * 10}{number:05}": 1.5 for number in range(LONGEST_LIST)}
    yield Call("PUT client, many names", "PUT", "/v1/clients/long", _text(_client("long", named, tags)))
    yield Call("GET client, many names", "GET", "/v1/clients/long")
    yield Call("PATCH client, many names", "PATCH", "/v1/clients/long", _text({"data_distribution": named}))
    yield Call("heartbeat, many names", "POST", "/v1/clients/long/heartbeat", b"{}")
    near = {
        tuple(sorted((one, (one + step) % clients))) for one in range(clients) for step in range(1, NEAREST // 2 + 1)
    }
    edges = [{"source": names[one], "target": names[other], "cost": 0.25} for one, other in sorted(near)]
    yield Call("PUT connectivity, edges", "PUT", "/v1/connectivity", _text({"edges": edges}))
    yield Call("PATCH connectivity, edges", "PATCH", "/v1/connectivity", _text({"edges": edges}))
    yield Call("PATCH connectivity, one", "PATCH", "/v1/connectivity", _text({"edges": edges[:1]}))
    yield Call(
        "PATCH connectivity, twice",
        "PATCH",
        "/v1/connectivity",
        _text({"edges": [*edges, edges[0] | {"cost": 1}]}),
        expected=4,
    )
    yield Call("GET topology", "GET", "/v1/topology")
    for strategy in STRATEGIES:
        yield Call(f"selection, {strategy}", "POST", "/v1/selections", _selection(strategy))
    yield Call("selection, relay", "POST", "/v1/selections", _selection("tcs-feel", topology="relay"))
    yield Call("selection, compare", "POST", "/v1/selections", _selection("tcs-feel", compare=list(STRATEGIES)))
    yield Call(
        "selection, 5 000 of them",
        "POST",
        "/v1/selections",
        _selection("random", min_clients=clients // 2, max_clients=clients // 2),
    )
    yield Call(
        "selection, exclude",
        "POST",
        "/v1/selections",
        _selection("random", exclude=[f"{'none-' * 11}{number:05}" for number in range(28_000)]),
    )
    rows = [[0 if one == other else 0.125 for other in range(dense)] for one in range(dense)]
    matrix = {"client_ids": names[:dense], "costs": rows}
    yield Call("PUT connectivity, dense", "PUT", "/v1/connectivity", _text(matrix))
    links = [
        {"source": names[one], "target": names[other], "cost": 0.25} for one in range(dense) for other in range(one)
    ]
    yield Call("PATCH connectivity, most", "PATCH", "/v1/connectivity", _text({"edges": links[:900_000]}))
    yield Call("PUT connectivity, most", "PUT", "/v1/connectivity", _text({"edges": links}))
    yield Call("GET connectivity, dense", "GET", "/v1/connectivity")
    yield Call("GET topology, dense", "GET", "/v1/topology")
    yield Call("GET metrics", "GET", "/metrics")
    training = {"name": "x", "max_rounds": 1, "selection": {"min_clients": 100, "max_clients": 100}}
    yield Call("POST training", "POST", "/v1/trainings", _text(training))
    yield Call("GET trainings", "GET", "/v1/trainings")
    yield Call("DELETE client", "DELETE", f"/v1/clients/{names[-1]}", repeats=False)


def _wide(options: Any) -> Iterator[Call]:
    """Yield the calls for a fleet that reports many labels."""
    at_once, labels = max(1, 1_000_000 // options.labels), options.labels
    for start in range(0, options.clients, at_once):
        fleet = [
            _client(f"wide-{number:05}", {f"label {label}": (number * label) % 7 + 1 for label in range(labels)}, {})
            for number in range(start, min(options.clients, start + at_once))
        ]
        yield Call(f"POST clients/batch {start}", "POST", "/v1/clients/batch", _text({"clients": fleet}), repeats=False)
    yield Call("GET clients", "GET", "/v1/clients?limit=1000")
    yield Call("GET topology", "GET", "/v1/topology")
    for strategy in STRATEGIES:
        yield Call(f"selection, {strategy}", "POST", "/v1/selections", _selection(strategy))
    yield Call("selection, compare", "POST", "/v1/selections", _selection("tcs-feel", compare=list(STRATEGIES)))


def _client(name: str, labels: object, tags: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": name,
        "url": "http://127.0.0.1:9",
        "data_size": 1000,
        "compute_capacity": 5.0,
        "bandwidth": 40.0,
        "latency": 20.0,
        "data_distribution": labels,
        "tags": tags,
    }


def _selection(strategy: str, **fields: object) -> bytes:
    return _text({"strategy": strategy, "min_clients": 50, "max_clients": 50} | fields)


def _text(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _measured(plane: Served, call: Call, repeats: int) -> Held:
    """Send a call, and return the best of its repeats."""
    found = [_once(plane, call) for _ in range(repeats if call.repeats else 1)]
    return min(found, key=lambda held: held.longest)


def _once(plane: Served, call: Call) -> Held:
    pid = plane.server.pid
    time.sleep(PAUSE)
    (Path("/proc") / str(pid) / "clear_refs").write_text("5")  # the peak starts anew
    before, began, started = Usage.of(pid), time.time(), time.perf_counter()
    with httpx2.Client(base_url=plane.plane.url, timeout=PATIENCE, trust_env=False) as http:
        headers = {"Authorization": f"Bearer {plane.key_file.read_text().strip()}", "Content-Type": "application/json"}
        answer = http.request(call.method, call.path, content=call.body, headers=headers)
    seconds = time.perf_counter() - started
    if answer.status_code // 100 != call.expected:
        raise RuntimeError(f"{call.name}: {answer.status_code} {answer.text[:300]}")
    time.sleep(PAUSE)
    after = Usage.of(pid)
    longest = max(holds(plane.loop, began, time.time()), default=Hold())
    return Held(longest, seconds, after.memory - before.memory, after.peak - before.memory)


def _row(name: str, held: Held) -> None:
    longest = held.longest
    times = "".join(f"{seconds * 1000:9.0f}" for seconds in (longest.seconds, longest.own, longest.garbage))
    mark = "  <-" if longest.seconds > BAR else ""
    print(f"  {name:39}{times}{held.seconds:9.2f}{held.memory:8.0f}{held.peak:9.0f}{mark}", flush=True)
