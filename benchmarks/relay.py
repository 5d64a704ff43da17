"""Measure what the server's link carries if updates travel over relays, compared with a star: real agents and sockets.

Each training has the same clients and the same model. The links between the clients cost less than those to the server
within each of the groups, so the selection lets one client of each group relay. Nothing is shaped: all links are the
loopback interface, so the times say what the work costs and nothing about slow links.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
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
SHARE = 0.45  # of the star's bytes, the bar
CHEAP = 0.001  # s/MB, far below each client's own link to the server


def main(arguments: Sequence[str]) -> int:
    """Measure the bytes over the server's link with relays and without; status 1 if the bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks relay", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--groups", type=int, default=GROUPS, help="groups of clients with cheap links to each other")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--floats", type=int, default=FLOATS, help="float32 values of the model")
    options = parser.parse_args(arguments)
    with served(settings=ONE_THREAD | {"TCSFEEL_LOG__LEVEL": "warning"}) as found:
        command = (found.plane.url, str(found.key_file), str(options.clients), str(options.floats), "0", "1")
        agents = running(
            "agents", "benchmarks.fleet:relays", *command, directory=found.directory, environment=found.environment
        )
        with agents as fleet:
            wait_for(lambda: len(found.plane.get("/v1/clients?limit=1000")["items"]) == options.clients)
            found.plane.put("/v1/connectivity", {"edges": _links(options.clients, options.groups)})
            megabytes = options.floats * 4 / 1e6
            print(
                f"{options.clients} clients in {options.groups} groups, a model of {megabytes:g} MB, medians of rounds"
            )
            measured = {topology: _measure(found, topology, options, fleet.pid) for topology in ("star", "relay")}
    share = measured["relay"] / measured["star"]
    print(f"with relays the server's link carries {share:.3f} of the star's bytes (bar: {SHARE})")
    return int(share > SHARE)


def _links(clients: int, groups: int) -> list[dict[str, Any]]:
    """Link the clients of each group with each other."""
    pairs = ((one, other) for one in range(clients) for other in range(one) if one % groups == other % groups)
    return [{"source": client_id(one), "target": client_id(other), "cost": CHEAP} for one, other in pairs]


def _measure(found: Served, topology: str, options: argparse.Namespace, agents: int) -> float:
    """Run a training, print its figures, and return the median of the bytes of its rounds."""
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
        f"{topology:6} {traffic / 1e6:8.2f} MB a round over the server's link, {relayed:g} updates relayed,"
        f" {seconds * 1000:.0f} ms, CPU a round: server {spent[found.server.pid] / options.rounds * 1000:.0f} ms,"
        f" agents {spent[agents] / options.rounds * 1000:.0f} ms"
    )
    return float(traffic)


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
