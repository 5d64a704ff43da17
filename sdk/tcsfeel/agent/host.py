"""Serve many agents on one port, under ``/agents/{id}``."""

import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType

from tcsfeel.agent.app import MAX_BODY_BYTES, Agent
from tcsfeel.agent.asgi import Receive, Scope, Send, route_path
from tcsfeel.agent.errors import AgentError
from tcsfeel.agent.fetching import Fetching
from tcsfeel.agent.frozen import FrozenTensors
from tcsfeel.agent.relaying import Relaying
from tcsfeel.agent.replies import Problem, status_response
from tcsfeel.agent.signing import Signing
from tcsfeel.agent.trainer import Trainer
from tcsfeel.agent.workers import Workers

_PREFIX = "/agents/"
_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEALTHY = status_response(HTTPStatus.OK, "ok")


class AgentHost:
    """An ASGI app for many agents, which share a limited number of threads.

    Args:
        threads: how many agents train at the same moment; by default as many as there are CPUs.
        max_body_bytes: as for `Agent`.
        clock: monotonic seconds.
        state: directory where agents keep the tensors that a training leaves on the device; None keeps them in memory.
    """

    def __init__(
        self,
        *,
        threads: int | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        clock: Callable[[], float] = time.monotonic,
        state: Path | None = None,
    ) -> None:
        self._workers = Workers(threads)
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._state = state
        self._frozen = FrozenTensors()
        self._agents: dict[str, Agent] = {}

    @property
    def agents(self) -> Mapping[str, Agent]:
        return MappingProxyType(self._agents)

    @staticmethod
    def path(client_id: str) -> str:
        """Return the path of the client's agent."""
        return _PREFIX + client_id

    def add(
        self,
        client_id: str,
        trainer: Trainer,
        *,
        token: str | None = None,
        signing: Signing | None = None,
        relaying: Relaying | None = None,
        fetching: Fetching | None = None,
    ) -> Agent:
        """Serve `trainer` under `path(client_id)`. It replaces an agent with the same id.

        Raises:
            AgentError: see `check_client_id`.
        """
        check_client_id(client_id)
        self.remove(client_id)
        agent = Agent(
            trainer,
            executor=self._workers,
            token=token,
            signing=signing,
            max_body_bytes=self._max_body_bytes,
            clock=self._clock,
            local_directory=local_directory(self._state, client_id),
            frozen=self._frozen,
            relaying=relaying,
            fetching=fetching,
        )
        self._agents[client_id] = agent
        return agent

    def remove(self, client_id: str) -> None:
        agent = self._agents.pop(client_id, None)
        if agent is not None:
            agent.close()

    def close(self) -> None:
        """Stop all training and let the threads end."""
        for agent in self._agents.values():
            agent.close()
        self._workers.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope)
        client_id, slash, below = path.removeprefix(_PREFIX).partition("/")
        agent = self._agents.get(client_id) if path.startswith(_PREFIX) else None
        if agent is not None:
            await agent.respond(slash + below, scope, receive, send)
        elif path == "/healthz":
            await _HEALTHY(scope, receive, send)
        else:
            response = Problem(HTTPStatus.NOT_FOUND, f"there is no agent at {path}").response()
            await response(scope, receive, send)


def check_client_id(client_id: str) -> None:
    """Raise `AgentError` unless the id is 1 to 64 of ``A-Za-z0-9._-`` and can be used in a URL (``..`` cannot)."""
    if not _CLIENT_ID.fullmatch(client_id) or client_id in {".", ".."}:
        raise AgentError(f"a client id must be 1 to 64 of the characters A-Za-z0-9._-, not {client_id!r}")


def local_directory(state: Path | None, client_id: str) -> Path | None:
    """Return where a client's local tensors are kept below the directory of its agent's state, if there is one."""
    return None if state is None else state / f"{client_id}.local"
