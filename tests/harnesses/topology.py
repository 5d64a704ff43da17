"""Run the Compose topology without an engine, kill a replica in a round, watch the training finish.

``make topology``. Three servers, HAProxy with TLS, Postgres, an S3 store and ten devices run with the values of
``deploy/compose/compose.yaml``. Everything that is watched goes through the proxy: the training, and streams of events
that go on where they were cut. The server that drives the training is killed in the middle of a round, and started
again some seconds later, as the engine would do it.
"""

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.servers import unhandled
from tests.harnesses.composed import Composed, Missing, caller, composed, over_grpc, start_prometheus, start_proxy
from tests.harnesses.scraping import watched

PATIENCE = 240.0
SERVERS = ("server-1", "server-2", "server-3")
READERS = 6  # of events; the proxy spreads them over the servers
AWAY_SECONDS = 5.0  # until the engine has started a container again
LOOK_SECONDS = 0.2
FIRST_KILL = 2  # the first round in which a server is killed
SMALLEST_MODEL = 1000  # bytes
IN_FLIGHT = re.compile(r"^federated_tasks_in_flight (\d+)", re.MULTILINE)
# The HTTP client's library leaves a connection to the garbage collector that is given up during the handshake of TLS.
CUT_OFF = "ResourceWarning: unclosed transport"


@dataclass
class Outcome:
    """What was seen. Times are seconds; `curve` has the accuracy after each round."""

    killed: str = ""
    killed_in_round: int = 0
    stood_still: float = 0.0
    curve: list[float] = field(default_factory=list)
    streamed: list[list[int]] = field(default_factory=lambda: [[] for _ in range(READERS)])
    connections: int = 0
    channels: set[str] = field(default_factory=set)
    watched: str = "no Prometheus on this machine"
    status: str = ""
    stop_reason: str = ""
    problems: list[str] = field(default_factory=list)

    def report(self) -> str:
        return (
            f"topology: {self.killed} was killed in round {self.killed_in_round}, and this round ended "
            f"{self.stood_still:.1f} s later; {len(self.curve)} rounds, accuracy {self.curve[0]:.3f} to "
            f"{self.curve[-1]:.3f}, {self.status} ({self.stop_reason}); {len(self.streamed[0])} events to each "
            f"of {READERS} readers, whose streams were cut {self.connections - READERS} times; "
            f"tasks by {' and '.join(sorted(self.channels))}; {self.watched}; "
            f"{'ok' if not self.problems else f'{len(self.problems)} PROBLEMS'}"
        )


class Stream:
    """Reads all events from the proxy into `seen`, and goes on after the last one if the stream is cut."""

    def __init__(self, api: httpx2.AsyncClient, outcome: Outcome, seen: list[int]) -> None:
        self._api = api
        self._outcome = outcome
        self._seen = seen

    async def run(self) -> None:
        while True:
            with contextlib.suppress(httpx2.TransportError):
                await self._read()
            await asyncio.sleep(LOOK_SECONDS)

    async def _read(self) -> None:
        seen = self._seen
        headers = {"Last-Event-ID": str(seen[-1] if seen else 0)}
        async with self._api.stream("GET", "/v1/events/stream", headers=headers) as answer:
            if not answer.is_success:
                return
            self._outcome.connections += 1
            async for line in answer.aiter_lines():
                if line.startswith("id:"):
                    seen.append(int(line.removeprefix("id:")))


async def until(look: Callable[[], Any], what: str) -> Any:
    """Look again and again until there is an answer. An error of the proxy or of a server is none."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                if (found := await look()) is not None:
                    return found
            except (httpx2.TransportError, httpx2.HTTPStatusError) as error:
                what = f"{what} ({error})"[:500]
            await asyncio.sleep(LOOK_SECONDS)
    raise TimeoutError(what)


@asynccontextmanager
async def running(directory: Path, server: str | None = None) -> AsyncIterator[tuple[Composed, httpx2.AsyncClient]]:
    """Start all services in the order that the file asks for. Yields them, and a caller of the proxy."""
    with composed(directory, server=server) as services:
        await asyncio.to_thread(services.run, "bucket")
        await asyncio.to_thread(services.run, "migrations")
        for name in SERVERS:
            services.start(name)
        start_proxy(services)
        start_prometheus(services)
        async with caller(services) as api:

            async def ready() -> bool | None:
                services.check()
                return True if (await api.get("/readyz")).is_success else None

            await until(ready, "the proxy finds a server that is ready")
            await asyncio.to_thread(services.run, "invitation")
            services.start("pushed")
            services.start("pulling")
            await asyncio.to_thread(services.run, "training")
            yield services, api


async def topology(directory: Path, server: str | None = None) -> Outcome:
    """Run everything, kill the owner of the training in a round, and wait for the end of the training."""
    outcome = Outcome()
    async with running(directory, server) as (services, api):
        streams = [asyncio.create_task(Stream(api, outcome, seen).run()) for seen in outcome.streamed]
        try:
            await Watch(services, api, outcome).follow()
            await _all_events(api, outcome)
            outcome.problems += await over_grpc(services, api)
            if "prometheus" in services.processes:
                outcome.watched, problems = await watched(services.address("prometheus"), len(SERVERS), until)
                outcome.problems += problems
        finally:
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
        outcome.channels = await _channels(services)
    for name in (*SERVERS, "pushed", "pulling"):
        outcome.problems += [f"{name}: {line}" for line in unhandled(services.log(name)) if CUT_OFF not in line]
    _judge(outcome)
    return outcome


class Watch:
    """Looks at the training through the proxy."""

    def __init__(self, services: Composed, api: httpx2.AsyncClient, outcome: Outcome) -> None:
        self._services = services
        self._api = api
        self._outcome = outcome
        self._path = ""

    async def follow(self) -> None:
        """Kill the owner of the training in the middle of a round, and wait for the training's end."""
        outcome = self._outcome
        self._path = f"/v1/trainings/{(await until(self._first, 'a training exists'))['id']}"
        outcome.killed, outcome.killed_in_round = await until(self._mid_round, "a round is half done")
        began = time.monotonic()
        self._services.kill(outcome.killed)
        back = asyncio.create_task(_back_again(self._services, outcome.killed))
        await until(self._round_ended, "the round ends without the server that was killed")
        outcome.stood_still = time.monotonic() - began
        await back
        found = await until(self._ended, "the training ends")
        outcome.status, outcome.stop_reason = found["status"], str(found["stop_reason"])
        rounds = (await self._json(f"{self._path}/rounds?limit=100"))["items"]
        outcome.curve = [one["average_accuracy"] for one in reversed(rounds) if one["average_accuracy"] is not None]
        outcome.problems += [
            f"round {one['number']}: {one['failure_reason']}" for one in rounds if one["failure_reason"]
        ]
        model = (await self._api.get(f"{self._path}/model")).raise_for_status()
        if len(model.content) < SMALLEST_MODEL:
            outcome.problems.append(f"the model has {len(model.content)} bytes")

    async def _json(self, path: str) -> Any:
        return (await self._api.get(path)).raise_for_status().json()

    async def _first(self) -> Any:
        items = (await self._json("/v1/trainings"))["items"]
        return items[0] if items else None

    async def _mid_round(self) -> tuple[str, int] | None:
        """Return the owner and the number of a round of which some updates are received, and others are not."""
        items = (await self._json(f"{self._path}/rounds?limit=1"))["items"]
        if not items or items[0]["number"] < FIRST_KILL:
            return None
        found = await self._json(f"{self._path}/rounds/{items[0]['number']}")
        statuses = {part["status"] for part in found["participations"]}
        if not {"received", "training"} <= statuses or (owner := await _owner(self._services)) is None:
            return None
        return owner, found["number"]

    async def _round_ended(self) -> bool | None:
        found = await self._json(f"{self._path}/rounds/{self._outcome.killed_in_round}")
        return True if found["ended_at"] is not None else None

    async def _ended(self) -> Any:
        found = await self._json(self._path)
        return found if found["status"] in {"completed", "failed", "cancelled"} else None


async def _back_again(services: Composed, name: str) -> None:
    await asyncio.sleep(AWAY_SECONDS)
    services.start(name)


async def _owner(services: Composed) -> str | None:
    """Name the server whose tasks are on their way: only the owner of a training hands them over."""
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as http:
        for name in SERVERS:
            with contextlib.suppress(httpx2.TransportError):
                text = (await http.get(f"http://{services.address(name)}/metrics")).text
                if (match := IN_FLIGHT.search(text)) and int(match[1]) > 0:
                    return name
    return None


async def _channels(services: Composed) -> set[str]:
    """Name the ways on which the servers that still run have handed tasks over."""
    found: set[str] = set()
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as http:
        for name in SERVERS:
            text = (await http.get(f"http://{services.address(name)}/metrics")).text
            handed = re.findall(
                r'^federated_tasks_handed_over_total\{channel="(\w+)"\} ([0-9.e+]+)', text, re.MULTILINE
            )
            found |= {channel for channel, number in handed if float(number) > 0}
    return found


async def _all_events(api: httpx2.AsyncClient, outcome: Outcome) -> None:
    """Compare what was streamed with what the list has by then."""
    listed, cursor, more = [], 0, True
    while more:
        page = (await api.get(f"/v1/events?after={cursor}&limit=1000")).raise_for_status().json()
        listed += [event["id"] for event in page["items"]]
        cursor, more = page["cursor"], page["more"]

    async def all_streamed() -> bool | None:
        return True if all(seen and seen[-1] >= listed[-1] for seen in outcome.streamed) else None

    await until(all_streamed, "each reader has the newest event")
    for seen in outcome.streamed:
        streamed = [number for number in seen if number <= listed[-1]]
        if streamed != listed:
            outcome.problems.append(f"{len(streamed)} events were streamed, and {len(listed)} are listed")


def _judge(outcome: Outcome) -> None:
    if (outcome.status, outcome.stop_reason) != ("completed", "target_accuracy"):
        outcome.problems.append(f"the training is {outcome.status}: {outcome.stop_reason}")
    if not outcome.curve or outcome.curve[-1] <= outcome.curve[0]:
        outcome.problems.append(f"the curve does not grow: {outcome.curve}")
    if outcome.channels != {"push", "pull"}:
        outcome.problems.append(f"tasks were handed over by {outcome.channels}")


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make topology", description=__doc__)
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-topology-")))
        try:
            outcome = await topology(directory)
        except Missing as missing:
            print(f"topology: {missing}", file=sys.stderr)
            return 1
    print(json.dumps({"curve": outcome.curve}))
    for problem in outcome.problems[:50]:
        print(f"  {problem}")
    print(outcome.report())
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
