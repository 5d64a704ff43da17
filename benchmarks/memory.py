"""Measure how much memory a round takes: by default one of 100 clients with a model of 100 MB, within 1 GiB.

The bar is for the peak of the resident memory of the whole server, with interpreter, database client, sockets and
mapped files. If control groups can be made, the kernel limits the server as well, with files in the page cache.
"""

import argparse
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import httpx2
import numpy as np

from app.demo.errors import DemoFailed
from app.demo.leash import Child
from app.demo.plane import ENDED, Plane
from app.demo.stage import HOST, ONE_THREAD, free_port
from benchmarks.arena import Stuck, databases, running, served, wait_for
from benchmarks.control_group import limited
from benchmarks.fleet import client_id
from benchmarks.machine import Times, Usage, cpu_seconds
from benchmarks.streaming_fleet import EXAMPLES, NAME, PATTERN, pattern

MEBIBYTE = 1 << 20
MEGABYTE = 1_000_000
LOOK_SECONDS = 0.5
PATIENCE = 3600.0  # seconds for a round
TOLERANCE = 1e-6


def main(arguments: Sequence[str]) -> int:
    """Measure the peak memory of a round with many large models; status 1 if it is above the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory", description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--megabytes", type=float, default=100.0, help="of one model")
    parser.add_argument("--limit", type=int, default=1024, help="MiB")
    parser.add_argument("--aggregation", nargs="+", default=["fedavg"])
    parser.add_argument("--database", choices=["sqlite", "postgres", "all"], default="sqlite")
    options = parser.parse_args(arguments)
    limit = options.limit * MEBIBYTE
    try:
        with databases(options.database) as servers:
            peaks = [
                _peak(name, server_url, Work(rule, options.clients, options.megabytes), limit)
                for name, server_url in servers.items()
                for rule in options.aggregation
            ]
    except DemoFailed as error:  # the kernel kills a process that does not keep to its limit
        print(f"memory: with a limit of {limit / MEGABYTE:.0f} MB {error}")
        return 1
    met = max(peaks) * MEGABYTE < limit
    print(
        f"memory: at most {max(peaks):.0f} MB resident in a round of {options.clients} x {options.megabytes:g} MB "
        f"(bar {limit / MEGABYTE:.0f} MB): {'met' if met else 'not met'}"
    )
    return 0 if met else 1


@dataclass(frozen=True, slots=True)
class Work:
    """A round: its rule, the number of clients, and the MB of the model."""

    rule: str
    clients: int
    megabytes: float


def _peak(name: str, server_url: str | None, work: Work, limit: int) -> float:
    """Return the resident MB at the peak of a round."""
    floats, token = int(work.megabytes * MEGABYTE / 4), secrets.token_urlsafe(16)
    with (
        limited(limit) as group,
        served(server_url=server_url, settings=ONE_THREAD, started=None if group is None else group.take_in) as found,
    ):
        port = free_port()
        arguments = ("benchmarks.streaming_fleet:main", str(port), token, str(floats))
        with running("agents", *arguments, directory=found.directory, environment=found.environment) as agents:
            wait_for(lambda: is_up(agents, port, token))
            register(found.plane, range(work.clients), port, token)
            idle = Usage.of(found.server.pid)
            times, cpu = Times.now(), sum(map(cpu_seconds, (found.server.pid, agents.pid)))
            started = time.monotonic()
            training = _train(found.plane, work)
            took = time.monotonic() - started
            used = Usage.of(found.server.pid)
            machine = times.report(sum(map(cpu_seconds, (found.server.pid, agents.pid))) - cpu)
            if work.rule == "fedavg":
                _check(found.plane, training, work.clients, floats)
        held = "no control group" if group is None else f"{group.peak():.0f} MB with files in the group"
    print(
        f"{name:10}{work.rule:14}{work.clients:5} x {work.megabytes:g} MB: {used.peak:.0f} MB resident at the peak "
        f"({idle.peak:.0f} before), {held}, {took:.0f} s, {used.cpu - idle.cpu:.0f} s of CPU   {machine}",
        flush=True,
    )
    return used.peak


def register(plane: Plane, numbers: Iterable[int], port: int, token: str) -> None:
    """Register clients of a `StreamingFleet`, at most 1000."""
    facts = {"data_size": EXAMPLES, "compute_capacity": 1.0, "bandwidth": 100.0, "latency": 1.0}
    listed = [
        {"id": client_id(number), "url": f"http://{HOST}:{port}/{number}", "auth_token": token, **facts}
        for number in numbers
    ]
    plane.post("/v1/clients/batch", {"clients": listed})


def is_up(agents: Child, port: int, token: str) -> bool:
    """Tell whether a `StreamingFleet` answers."""
    agents.check()
    try:
        answer = httpx2.get(f"http://{HOST}:{port}/0/healthz", headers={"Authorization": f"Bearer {token}"})
    except httpx2.TransportError:
        return False
    return answer.is_success


def _train(plane: Plane, work: Work) -> str:
    """Run one round with all clients, and return the path of its training."""
    body = {
        "name": "memory",
        "target_accuracy": 1.0,
        "max_rounds": 1,
        "aggregation": work.rule,
        "selection": {"min_clients": work.clients, "max_clients": work.clients},
        "round_policy": {"quorum": 1.0, "deadline_seconds": PATIENCE},
        "evaluation": {"clients": 0},
    }
    path = f"/v1/trainings/{plane.post('/v1/trainings', body)['id']}"
    plane.post(f"{path}/start")
    while plane.get(path)["status"] not in ENDED:
        time.sleep(LOOK_SECONDS)
    round_ = plane.get(f"{path}/rounds/1")
    received = sum(part["status"] == "received" for part in round_["participations"])
    if round_["status"] != "completed" or received != work.clients:
        raise Stuck(f"the round is {round_['status']} with {received} updates: {round_['failure_reason']}")
    return path


def _check(plane: Plane, path: str, clients: int, floats: int) -> None:
    """Raise `Stuck` unless the new model is the mean of the updates that the clients sent."""
    mean = np.mean([pattern(number).astype(np.float64) for number in range(clients)], axis=0)
    model = plane.model(path.rpartition("/")[2])[NAME]
    if model.shape != (floats,):
        raise Stuck(f"the new model has the shape {model.shape}")
    for start in range(0, floats, PATTERN):
        part = model[start : start + PATTERN]
        if not np.allclose(part, mean[: len(part)], rtol=0, atol=TOLERANCE):
            raise Stuck("the new model is not the mean of the updates")
