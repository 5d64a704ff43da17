"""Measure what agents that wait for tasks cost, and how soon a task reaches one: by default 2 000 agents.

Each agent has a key of its own and asks for tasks all the time. First none is selected. Then rounds with some of the
agents are run, and each hand-over is measured by the server: from the offer of a task to its agent's taking it.
"""

import argparse
import asyncio
import json
import sqlite3
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Self

import aiohttp
import numpy as np

from app.demo.plane import ENDED
from app.demo.stage import ONE_THREAD
from app.threads import in_thread
from benchmarks.arena import Served, Stuck, served, wait_for
from benchmarks.machine import Times, Usage, cpu_seconds
from tcsfeel.rest.deadlines import KEEP_SECONDS
from tcsfeel.wire.codec import decode, encode
from tcsfeel.wire.tasks import TaskResult, read_task, result_metadata

CLIENTS = 2_000
SHARE = 0.2  # of a core, the bar for idle agents
MEGABYTES = 300.0  # resident, likewise
HAND_OVER_MS = 100.0  # the bar for the median
AT_ONCE = 8  # keys that are made
AGAIN_SECONDS = 2.0  # after which an agent asks again if it got no answer
FLOATS = 1_000
PROFILE = {"data_size": 100, "compute_capacity": 1.0, "bandwidth": 10.0, "latency": 10.0}
RESULT = TaskResult(num_examples=100, loss=0.5, accuracy=0.5)


def main(arguments: Sequence[str]) -> int:
    """Measure what idle agents that pull cost, and how soon tasks reach them; status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks pull", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=60.0, help="for which the agents are idle")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--selected", type=int, default=10, help="clients in each round")
    options = parser.parse_args(arguments)
    settings = ONE_THREAD | {"TCSFEEL_LIMITS__REQUESTS_PER_SECOND": "1000000", "TCSFEEL_LOG__LEVEL": "warning"}
    with served(settings=settings) as found:
        return asyncio.run(_measure(found, options))


async def _measure(found: Served, options: argparse.Namespace) -> int:
    fleet = _Fleet(found, options.clients)
    async with fleet:
        await asyncio.sleep(min(5.0, options.seconds))  # the burst of registrations is over
        times, cpu, began = Times.now(), cpu_seconds(found.server.pid), time.monotonic()
        await asyncio.sleep(options.seconds)
        seconds, used = time.monotonic() - began, cpu_seconds(found.server.pid) - cpu
        resident = Usage.of(found.server.pid).memory
        print(
            f"{options.clients} idle agents: {used / seconds:.1%} of a core, {resident:.0f} MB resident, "
            f"{fleet.asked} questions, {fleet.broken} of them without an answer   {times.report(used)}",
            flush=True,
        )
        await in_thread("files", _train, found, options.rounds, options.selected)
    waits = sorted(_hand_overs(found.directory))
    median, late = statistics.median(waits) * 1000, waits[int(0.95 * len(waits))] * 1000
    print(f"{len(waits)} hand-overs: median {median:.0f} ms, 95 % within {late:.0f} ms", flush=True)
    met = used / seconds <= SHARE and resident <= MEGABYTES and median <= HAND_OVER_MS
    print(
        f"pull: {options.clients} idle agents take {used / seconds:.1%} of a core and {resident:.0f} MB "
        f"(bars {SHARE:.0%} and {MEGABYTES:.0f} MB for {CLIENTS}), "
        f"hand-over {median:.0f} ms (bar {HAND_OVER_MS:.0f} ms): {'met' if met else 'not met'}"
    )
    return 0 if met else 1


def _train(found: Served, rounds: int, selected: int) -> None:
    body = {
        "name": "benchmark",
        "target_accuracy": 1.0,
        "max_rounds": rounds,
        "selection": {"strategy": "random", "min_clients": selected, "max_clients": selected},
        "round_policy": {"quorum": 1.0},
        "evaluation": {"clients": 0},
    }
    path = f"/v1/trainings/{found.plane.post('/v1/trainings', body)['id']}"
    found.plane.post(f"{path}/start")
    wait_for(lambda: found.plane.get(path)["status"] in ENDED)
    done = found.plane.get(path)
    if done["current_round"] != rounds:
        raise Stuck(f"the training ended after {done['current_round']} rounds: {done['stop_detail']}")


def _hand_overs(directory: Path) -> list[float]:
    """Return the seconds from the offer to the taking of each task, by the server's clock."""
    with sqlite3.connect(directory / "tcsfeel.db") as database:
        rows = database.execute("SELECT taken_at - offered_at FROM tasks WHERE kind = 'fit' AND taken_at IS NOT NULL")
        return [float(row[0]) for row in rows]


class _Fleet:
    """Agents in this process, each with its own connection."""

    def __init__(self, found: Served, clients: int) -> None:
        self._found = found
        self._clients = clients
        self.asked, self.broken = 0, 0
        self._agents: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS)
        self._http = aiohttp.ClientSession(
            self._found.plane.url, connector=connector, timeout=aiohttp.ClientTimeout(total=None)
        )
        places = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._join(number, places) for number in range(self._clients)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for agent in self._agents:
            agent.cancel()
        await asyncio.gather(*self._agents, return_exceptions=True)
        await self._http.close()

    async def _join(self, number: int, places: asyncio.Semaphore) -> None:
        client_id, admin = f"device-{number}", self._found.key_file.read_text().strip()
        async with places:
            body = {"name": client_id, "role": "agent", "client_id": client_id}
            made = await self._json("POST", "/v1/keys", admin, body)
            await self._json("PUT", f"/v1/clients/{client_id}", made["key"], PROFILE)
        self._agents.append(asyncio.create_task(self._agent(client_id, made["key"])))

    async def _json(self, method: str, path: str, key: str, body: object) -> dict[str, str]:
        """Call until there is an answer: a server that is full closes connections, and asks to come back."""
        while True:
            pause = AGAIN_SECONDS
            with suppress(aiohttp.ClientError):
                async with self._http.request(method, path, json=body, headers=_authorized(key)) as answer:
                    if answer.ok:
                        found: dict[str, str] = json.loads(await answer.read())
                        return found
                    if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                        raise Stuck(f"{method} {path}: {answer.status} {await answer.text()}")
                    pause = float(answer.headers["Retry-After"])
            await asyncio.sleep(pause)

    async def _agent(self, client_id: str, key: str) -> None:
        path, headers = f"/v1/clients/{client_id}/tasks", _authorized(key)
        while True:
            self.asked += 1
            try:
                pause = await self._ask(path, headers)
            except aiohttp.ClientError:  # such as a server without a place for another connection
                self.broken += 1
                pause = AGAIN_SECONDS
            if pause > 0:
                await asyncio.sleep(pause)

    async def _ask(self, path: str, headers: dict[str, str]) -> float:
        """Ask for a task, work on it if there is one, and return for how many seconds the server asks to wait."""
        async with self._http.get(f"{path}/next", params={"wait": "30"}, headers=headers) as answer:
            body = await answer.read()
        if answer.status == HTTPStatus.OK:
            task_id, result = _worked(body)
            await (await self._http.put(f"{path}/{task_id}/result", data=result, headers=headers | _TYPE)).read()
            return 0.0
        return float(answer.headers.get("Retry-After", "0"))


_TYPE = {"Content-Type": "application/vnd.safetensors"}


def _worked(body: bytes) -> tuple[str, bytes]:
    parameters, metadata = decode(body)
    task = read_task(metadata)
    if task.kind == "model":
        return task.id, encode({"w": np.zeros(FLOATS, np.float32)})
    return task.id, encode(parameters, result_metadata(RESULT))


def _authorized(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
