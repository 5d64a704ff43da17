"""Measure whether the API stays quick while rounds run, with 100 clients and models of 1 MB.

The bar is a 99th percentile of reading a client below 50 ms. It also measures how long single pieces of work hold the
event loop, which should be at most 10 ms of CPU time.
"""

import argparse
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.demo.leash import Child
from benchmarks.arena import Arena, arena, databases, wait_for
from benchmarks.load import Latency, read
from benchmarks.loop import TOLD, longest
from benchmarks.machine import Times, Usage, cpu_seconds

BAR = 50.0  # ms
LONG = 0.010  # seconds of CPU, for which a piece of work may hold the event loop
WARM_UP = 0.3  # share of the time, which is left out of the slope of the server's memory
SETTLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """A training under load. `usage` has times (seconds) and what the server used then.

    `work` are the pieces of work that held its event loop for long: CPU seconds, the longest first.
    """

    latency: Latency
    rounds: list[float]
    cpu: float
    usage: list[tuple[float, Usage]]
    machine: str
    work: list[float]


def main(arguments: Sequence[str]) -> int:
    """Measure the latency of GET /v1/clients/{id} while rounds run; status 1 if its p99 is 50 ms or more."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks responsiveness", description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--model-bytes", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7, help="of each run")
    parser.add_argument("--runs", type=int, default=3, help="the medians are over these")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--idle-seconds", type=float, default=10.0)
    parser.add_argument("--database", choices=["sqlite", "postgres", "all"], default="all")
    options = parser.parse_args(arguments)
    print(
        f"GET /v1/clients/{{id}}, {options.rate:g} a second, {options.clients} clients, {options.model_bytes:,} bytes"
    )
    figures = {}
    with databases(options.database) as servers:
        for name, server_url in servers.items():
            with arena(
                clients=options.clients, model_bytes=options.model_bytes, server_url=server_url, watch="benchmarks.loop"
            ) as found:
                figures[name] = _measure(name, found, options)
    met = all(loaded < BAR for _, loaded in figures.values())
    told = ", ".join(f"{name} {loaded:.1f} ms (idle {idle:.1f})" for name, (idle, loaded) in figures.items())
    print(f"responsiveness: p99 while rounds run: {told}; the bar of {BAR:g} ms is {'met' if met else 'missed'}")
    return 0 if met else 1


def _measure(name: str, found: Arena, options: argparse.Namespace) -> tuple[float, float]:
    """Return the 99th percentiles without and with rounds, in ms. The second is the median over the runs."""
    print(f"\n{name:24}{'p50':>8}{'p99':>8}{'max':>8}  ms, {'samples':>8}{'own p99':>9}")
    file = found.directory / "samples"
    arguments = (found.plane.url, str(found.key_file), str(found.clients), str(options.rate), str(file))
    load = Child(
        "load", "benchmarks.load:main", *arguments, log=file.with_suffix(".log"), environment=found.environment
    )
    try:
        wait_for(lambda: file.exists() and file.stat().st_size > 0)
        time.sleep(SETTLE_SECONDS)
        began, times, cpu = time.time(), Times.now(), _cpu(found, load)
        time.sleep(options.idle_seconds)
        idle = Latency.of(read(file, began, time.time()))
        machine = times.report(_cpu(found, load) - cpu)
        _row("idle", idle, machine)
        runs = []
        for number in range(options.runs):
            runs.append(_run(found, load, file, options.rounds))
            _row(f"rounds, run {number + 1}", runs[-1].latency, runs[-1].machine)
            load.check()
    finally:
        load.let_go()
        load.wait()
    p50, p99, worst, lateness = (
        statistics.median(getattr(run.latency, field) for run in runs) for field in ("p50", "p99", "worst", "lateness")
    )
    _row("rounds, median", Latency(sum(run.latency.count for run in runs), p50, p99, worst, lateness), "")
    seconds = [second for run in runs for second in run.rounds]
    cpu = sum(run.cpu for run in runs) / len(seconds)
    print(
        f"{len(seconds)} rounds of {statistics.median(seconds):.2f} s "
        f"(median; {min(seconds):.2f} to {max(seconds):.2f}), "
        f"{cpu:.2f} s of the server's CPU each"
    )
    print(_growth([point for run in runs for point in run.usage], len(seconds)))
    print(_held([piece for run in runs for piece in run.work]))
    return idle.p99, p99


def _run(found: Arena, load: Child, file: Path, rounds: int) -> Run:
    usage = [(time.time(), Usage.of(found.server.pid))]
    times, cpu = Times.now(), _cpu(found, load)
    seconds = found.train(rounds, watch=lambda: usage.append((time.time(), Usage.of(found.server.pid))))
    usage.append((time.time(), Usage.of(found.server.pid)))
    latency = Latency.of(read(file, usage[0][0], usage[-1][0]))
    machine = times.report(_cpu(found, load) - cpu)
    work = longest(found.loop, usage[0][0], usage[-1][0])
    return Run(latency, seconds, usage[-1][1].cpu - usage[0][1].cpu, usage, machine, work)


def _growth(usage: list[tuple[float, Usage]], rounds: int) -> str:
    """Describe the server's memory and files over all runs, with slopes that are fitted after a warm-up."""
    began, ended = usage[0][0], usage[-1][0]
    later = [(at, now) for at, now in usage if at >= began + WARM_UP * (ended - began)]
    each = (ended - began) / rounds
    memory, files = (
        np.polyfit([at for at, _ in later], [getattr(now, field) for _, now in later], 1)[0] * each
        if len(later) > 2
        else math.nan
        for field in ("memory", "files")
    )
    last = usage[-1][1]
    return (
        f"the server's memory: {usage[0][1].memory:.0f} MB before, {last.peak:.0f} MB at its peak, "
        f"{memory:+.2f} MB a round; "
        f"open files: {usage[0][1].files} before, {max(now.files for _, now in usage)} at most, {last.files} after, "
        f"{files:+.2f} a round"
    )


def _held(work: list[float]) -> str:
    """Describe in one line what held the server's event loop."""
    long = sum(seconds > LONG for seconds in work)
    return (
        f"the server's event loop: {len(work)} pieces of work of {TOLD * 1000:g} ms of CPU or more, "
        f"{long} of more than {LONG * 1000:g} ms, the longest {max(work, default=0.0) * 1000:.1f} ms"
    )


def _cpu(found: Arena, load: Child) -> float:
    return sum(cpu_seconds(child.pid) for child in (found.server, *found.agents, load))


def _row(name: str, latency: Latency, machine: str) -> None:
    figures = f"{latency.p50:8.1f}{latency.p99:8.1f}{latency.worst:8.1f}"
    print(f"  {name:22}{figures}      {latency.count:8}{latency.lateness:9.1f}  {machine}".rstrip(), flush=True)
