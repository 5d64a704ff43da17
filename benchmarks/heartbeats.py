"""Measure what the heartbeats of a large fleet cost: the server's CPU, and what it writes to the database.

Each client sends one in an interval, evenly spread. They say nothing new, as most heartbeats do.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence

import aiohttp

from app.demo.stage import ONE_THREAD, free_port
from benchmarks.arena import Served, databases, served
from benchmarks.fleet import client_id
from benchmarks.ledger import BATCH
from benchmarks.machine import Times, cpu_seconds
from benchmarks.memory import register
from benchmarks.statements import ALL, Counts

INTERVAL = 30.0  # seconds between two heartbeats of a client
HEALTH = 3  # times the interval, as by default
SHARE = 0.15  # of a core, the bar for 10 000 clients
CLIENTS = 10_000
CONNECTIONS = 50


def main(arguments: Sequence[str]) -> int:
    """Measure the CPU and the writes of a large fleet's heartbeats; status 1 if the bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks heartbeats", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--intervals", type=float, default=1.0, help="that are measured, after one that is not")
    parser.add_argument("--interval", type=float, default=INTERVAL, help="seconds")
    parser.add_argument("--database", choices=["sqlite", "postgres", "all"], default="sqlite")
    options = parser.parse_args(arguments)
    with databases(options.database) as servers:
        shares = [
            _share(name, url, options.clients, options.interval, options.intervals) for name, url in servers.items()
        ]
    met = max(shares) <= SHARE
    print(
        f"heartbeats: {options.clients} clients take at most {max(shares):.0%} of a core "
        f"(bar {SHARE:.0%} for {CLIENTS}): {'met' if met else 'not met'}"
    )
    return 0 if met else 1


def _share(name: str, server_url: str | None, clients: int, interval: float, intervals: float) -> float:
    """Return the share of a core that heartbeats take beyond an idle server."""
    settings = ONE_THREAD | {"TCSFEEL_HEALTH__INTERVAL_SECONDS": f"{HEALTH * interval:g}"}
    with served(server_url=server_url, settings=settings, watch="benchmarks.statements") as found:
        for start in range(0, clients, BATCH):
            register(found.plane, range(start, min(start + BATCH, clients)), free_port(), "token")
        key = found.key_file.read_text().strip()
        asyncio.run(_beat(found, key, clients, interval, 1.0))
        times, cpu, counts = Times.now(), cpu_seconds(found.server.pid), Counts.read(found.loop, ALL)
        began = time.monotonic()
        asyncio.run(_beat(found, key, clients, interval, intervals))
        seconds = time.monotonic() - began
        used, sent = cpu_seconds(found.server.pid) - cpu, Counts.read(found.loop, ALL) - counts
    print(
        f"{name:9}{clients:7} clients, one heartbeat in {interval:g} s: {used / seconds:.1%} of a core, "
        f"{sent.statements / seconds:.1f} statements in {sent.transactions / seconds:.1f} transactions a second, "
        f"{used / (clients * intervals) * 1000:.2f} ms each   {times.report(used)}",
        flush=True,
    )
    return used / seconds


async def _beat(found: Served, key: str, clients: int, interval: float, intervals: float) -> None:
    """Send the heartbeats of all clients at an even rate."""
    headers = {"Authorization": f"Bearer {key}"}
    places = asyncio.Semaphore(CONNECTIONS)

    async def one(http: aiohttp.ClientSession, number: int) -> None:
        async with places, http.post(f"/v1/clients/{client_id(number)}/heartbeat", json={}) as answer:
            await answer.read()
            answer.raise_for_status()

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(found.plane.url, headers=headers, connector=connector) as http:
        start = time.perf_counter()
        async with asyncio.TaskGroup() as beats:
            for beat in range(int(clients * intervals)):
                await asyncio.sleep(max(0.0, start + beat * interval / clients - time.perf_counter()))
                beats.create_task(one(http, beat % clients))
