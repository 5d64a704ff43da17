"""Measure rounds whose updates travel over relays, compared with a star: real agents, real sockets, shaped links.

Each training has the same clients and the same model. Clients in a group are linked with each other. There are three
scenes. In the first all links are the loopback interface, so it says what the work costs. In the other two each link
has a speed: the clients' links to the server have 0.5 to 2 MB/s, and those between clients are far better, or worse.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.demo.plane import ENDED
from app.demo.stage import ONE_THREAD
from benchmarks.arena import LOOK_SECONDS, Served, Stuck, running, served, wait_for
from benchmarks.fleet import client_id
from benchmarks.machine import cpu_seconds

CLIENTS = 10
GROUPS = 2
ROUNDS = 10
FLOATS = 250_000
SHARE = 0.45  # of the star's bytes, the bar where relaying pays
SAME = 1.1  # times the star's figure, the bar for what should be no worse; this machine's noise is in it


@dataclass(frozen=True, slots=True)
class Scene:
    """Some links, and the most bytes and time that relays may need, as a share of the star's.

    `cost` is that of a link between clients in seconds for each megabyte. It is true if the links are `shaped`.
    """

    name: str
    cost: float
    shaped: bool
    most_bytes: float
    most_time: float | None = None


SCENES = (
    Scene("loopback", 0.001, shaped=False, most_bytes=SHARE),
    Scene("good links between clients", 0.1, shaped=True, most_bytes=SHARE, most_time=1.0),
    Scene("bad links between clients", 5.0, shaped=True, most_bytes=SAME, most_time=SAME),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """The medians of a training's rounds: bytes over the server's link, and seconds."""

    traffic: float
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Measure rounds with relays and without over three kinds of links; status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks relay", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--groups", type=int, default=GROUPS, help="groups of clients with links to each other")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--floats", type=int, default=FLOATS, help="float32 values of the model")
    parser.add_argument("--scenes", type=int, nargs="+", default=range(len(SCENES)), help="0 to 2; all by default")
    options = parser.parse_args(arguments)
    megabytes = options.floats * 4 / 1e6
    print(f"{options.clients} clients in {options.groups} groups, a model of {megabytes:g} MB, medians of rounds")
    missed = [line for number in options.scenes for line in _scene(SCENES[number], options)]
    for line in missed:
        print(f"missed: {line}")
    return int(bool(missed))


def _scene(scene: Scene, options: argparse.Namespace) -> list[str]:
    """Measure one scene, and return the bars that it misses."""
    print(scene.name)
    with served(settings=ONE_THREAD | {"TCSFEEL_LOG__LEVEL": "warning"}) as found:
        command = [found.plane.url, str(found.key_file), str(options.clients), str(options.floats)]
        target = "benchmarks.shaped:main" if scene.shaped else "benchmarks.fleet:relays"
        command += [str(1 / scene.cost)] if scene.shaped else ["0", "1"]
        with running("agents", target, *command, directory=found.directory, environment=found.environment) as fleet:
            wait_for(lambda: len(found.plane.get("/v1/clients?limit=1000")["items"]) == options.clients)
            found.plane.put("/v1/connectivity", {"edges": _links(options.clients, options.groups, scene.cost)})
            star, relay = (_measure(found, topology, options, fleet.pid) for topology in ("star", "relay"))
    share, times = relay.traffic / star.traffic, relay.seconds / star.seconds
    print(f"  with relays: {share:.3f} of the star's bytes, {times:.2f} of its time")
    bars = (("bytes", share, scene.most_bytes), ("time", times, scene.most_time))
    return [
        f"{scene.name}: {what} {value:.3f} of the star's, bar {bar}"
        for what, value, bar in bars
        if bar is not None and value > bar
    ]


def _links(clients: int, groups: int, cost: float) -> list[dict[str, Any]]:
    """Link the clients of each group with each other."""
    pairs = ((one, other) for one in range(clients) for other in range(one) if one % groups == other % groups)
    return [{"source": client_id(one), "target": client_id(other), "cost": cost} for one, other in pairs]


def _measure(found: Served, topology: str, options: argparse.Namespace, agents: int) -> Figures:
    """Run a training, print its figures, and return the medians of its rounds."""
    body = {
        "name": topology,
        "topology": topology,
        "target_accuracy": 1.0,
        "max_rounds": options.rounds,
        "selection": {"strategy": "random", "min_clients": options.clients, "max_clients": options.clients},
        "round_policy": {"quorum": 1.0},
        "evaluation": {"clients": 0},
    }
    path = f"/v1/trainings/{found.plane.post('/v1/trainings', body)['id']}"
    before = {pid: cpu_seconds(pid) for pid in (found.server.pid, agents)}
    found.plane.post(f"{path}/start")
    while found.plane.get(path)["status"] not in ENDED:
        time.sleep(LOOK_SECONDS)
    spent = {pid: cpu_seconds(pid) - before[pid] for pid in before}
    rounds = [found.plane.get(f"{path}/rounds/{number}") for number in range(1, options.rounds + 1)]
    for value in rounds:
        if value["status"] != "completed" or any(part["status"] != "received" for part in value["participations"]):
            raise Stuck(f"round {value['number']} is {value['status']}: {value}")
    traffic = statistics.median(value["communication_bytes"] for value in rounds)
    seconds = statistics.median(_instant(value["ended_at"]) - _instant(value["started_at"]) for value in rounds)
    relayed = statistics.median(sum(bool(part["relay"]) for part in value["participations"]) for value in rounds)
    print(
        f"  {topology:6} {traffic / 1e6:8.2f} MB a round over the server's link, {relayed:g} updates relayed,"
        f" {seconds * 1000:.0f} ms, CPU a round: server {spent[found.server.pid] / options.rounds * 1000:.0f} ms,"
        f" agents {spent[agents] / options.rounds * 1000:.0f} ms"
    )
    return Figures(float(traffic), seconds)


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
