"""Run a server with a few agents and a training for one trouble, and check what they do."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tcsfeel.agent import AgentHost
from tcsfeel.agent.listening import listening
from tcsfeel.agent.membership import registered
from tcsfeel.agent.registration import Member
from tests.e2e.servers import Server, call
from tests.harnesses.wide import WideLearner

AT_MOST = 10.0  # seconds until the training continues, or something names the cause
ALLOWED = {"the round is abandoned": 90.0}  # seconds, since every round outlasts 60 s of such trouble
NEVER = 120.0  # seconds after which a step does not happen any more: a busy machine may be slow
CLIENTS = 3
FIT_SECONDS = 0.1
FLOATS = 100_000
LOOK_SECONDS = 0.1
LOOK_AT_MOST = 4.0  # seconds, since ``/readyz`` answers within 3
ENVIRONMENT = {
    "TCSFEEL_COORDINATOR__LEASE_SECONDS": "3",
    "TCSFEEL_HEALTH__INTERVAL_SECONDS": "1",
    "TCSFEEL_AGENTS__CONNECT_SECONDS": "1",
    "TCSFEEL_AGENTS__READ_SECONDS": "5",
    "TCSFEEL_AGENTS__POLL_SECONDS": "1",
}


class Trouble(Exception):
    """Something that should happen did not happen."""


@dataclass
class Stage:
    """A server for one trouble. `took` has the seconds of each awaited step by its name."""

    server: Server
    directory: Path
    took: dict[str, float] = field(default_factory=dict)

    async def get(self, path: str) -> Any:
        """Return the body of an answer. Returns None without an answer, or for an error that is not of ``/readyz``."""
        try:
            async with httpx2.AsyncClient(
                base_url=self.server.url,
                headers={"Authorization": f"Bearer {self.server.key}"},
                timeout=LOOK_AT_MOST,
                trust_env=False,
            ) as http:
                response = await http.get(path)
                return response.json() if response.is_success or path == "/readyz" else None
        except (httpx2.TransportError, ValueError):
            return None

    async def train(self, **more: Any) -> str:
        """Start a training of all clients that has no end, and return its path."""
        body: dict[str, Any] = {
            "name": "troubled",
            "target_accuracy": 1.0,
            "max_rounds": 1_000_000,
            "selection": {"strategy": "random", "min_clients": CLIENTS, "max_clients": CLIENTS},
            "evaluation": {"clients": 0},
            "round_policy": {"deadline_seconds": 60, "quorum": 1.0},
        }
        async with self.server.api() as api:
            training = await call(api, "POST", "/v1/trainings", json=body | more)
            path = f"/v1/trainings/{training['id']}"
            await call(api, "POST", f"{path}/start")
        await self.goes_on(path, "begin")
        return path

    async def goes_on(self, path: str, step: str, *, rounds: int = 2) -> None:
        """Wait until this many more rounds have been completed. The first of them may have been almost complete."""
        before = await self._completed(path)

        async def more() -> str | None:
            return "" if await self._completed(path) >= before + rounds else None

        await self._within(step, more, f"no {rounds} rounds of {path} were completed")

    async def tells(self, step: str, path: str, *words: str) -> str:
        """Wait until the training, its last round or ``/readyz`` has one of the words, and return the place."""

        async def said() -> str | None:
            asked = ("/readyz", path, f"{path}/rounds?limit=1")
            ready, training, rounds = await asyncio.gather(*map(self.get, asked))
            told = {
                "readyz": ready if ready is None or ready.get("status") != "ready" else {},
                "training": training and {name: training.get(name) for name in ("progress", "stop_detail")},
                "round": rounds and [round_["failure_reason"] for round_ in rounds["items"]],
            }
            for place, text in told.items():
                if any(word.lower() in str(text).lower() for word in words):
                    return f"{place}: {text}"
            return None

        return await self._within(step, said, f"nothing says {' or '.join(words)}")

    async def until(self, step: str, condition: Callable[[], Awaitable[bool]], otherwise: str) -> None:
        """Wait until a condition holds."""

        async def holds() -> str | None:
            return "" if await condition() else None

        await self._within(step, holds, otherwise)

    async def _completed(self, path: str) -> int:
        found = await self.get(f"{path}/rounds?limit=1000")
        return 0 if found is None else sum(value["status"] == "completed" for value in found["items"])

    async def _within(self, step: str, look: Callable[[], Awaitable[str | None]], otherwise: str) -> str:
        began = time.monotonic()
        while True:
            found = await look()
            elapsed = time.monotonic() - began
            if found is not None:
                self.took[step] = elapsed
                return found
            if elapsed > NEVER:
                raise Trouble(f"{step}: {otherwise} within {NEVER:g} s")
            await asyncio.sleep(LOOK_SECONDS)


def check_times(took: Mapping[str, float]) -> None:
    """Check that no step took longer than it may. Raises `Trouble`."""
    allowed = {step: ALLOWED.get(step, AT_MOST) for step in took}
    late = [f"{step}: it took {seconds:.1f} s" for step, seconds in took.items() if seconds > allowed[step]]
    if late:
        raise Trouble("; ".join(late))


@asynccontextmanager
async def stage(directory: Path, database_url: str, **environment: str) -> AsyncIterator[Stage]:
    """Start a server, and kill it after the block."""
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (before anything runs)
    server = Server(directory, database_url, **(ENVIRONMENT | environment))
    await server.start()
    try:
        yield Stage(server, directory)
    finally:
        server.kill()


class Fleet:
    """Agents that can leave, and come back at another port with their state."""

    def __init__(self, server: Server, *, floats: int = FLOATS, seconds: float = FIT_SECONDS) -> None:
        self._server = server
        self.learners = {f"c-{n}": WideLearner(n, seconds=seconds, floats=floats) for n in range(CLIENTS)}
        self._host = AgentHost(threads=CLIENTS)
        for client_id, learner in self.learners.items():
            self._host.add(client_id, learner, token="t" * 20)
        self._stack = contextlib.AsyncExitStack()

    async def come(self, **settings: Any) -> None:
        """Listen on any free port and register."""
        self._stack = contextlib.AsyncExitStack()
        url = await self._stack.enter_async_context(listening(self._host, "127.0.0.1", 0))
        members = [
            Member(client_id, url + self._host.path(client_id), agent.token, agent.trainer)
            for client_id, agent in self._host.agents.items()
        ]
        joined = registered(members, self._server.url, self._server.key, **({"heartbeat_seconds": 0.5} | settings))
        await self._stack.enter_async_context(joined)

    async def move(self) -> None:
        """Listen on another port, register with it, and then stop listening on the former port."""
        before = self._stack
        await self.come()
        await before.aclose()

    async def leave(self) -> None:
        """Stop listening and sending heartbeats. The agents continue to work on their tasks."""
        await self._stack.aclose()


@asynccontextmanager
async def fleet(server: Server, **settings: Any) -> AsyncIterator[Fleet]:
    """Run a fleet in the block."""
    found = Fleet(server, **settings)
    await found.come()
    try:
        yield found
    finally:
        await found.leave()


Scenario = Callable[[Path, str], Awaitable[Mapping[str, float]]]
