"""The two ways in which a task gets to an agent: it is called, or it asks. The dispatcher does not know which."""

from collections.abc import Sequence
from typing import Protocol

from app.domain.clients import Endpoint, Health
from app.metrics import Metrics
from app.services.tasks.bodies import TaskBody
from app.services.tasks.replies import Reply
from app.store.model_store import ModelStore, StoredFile
from tcsfeel.wire.compression import IDENTITY


class Channel(Protocol):
    """Brings tasks to agents and their results back. Every fault of an agent raises `AgentFailed`."""

    async def health(self, agent: Endpoint) -> Health:
        """Find out whether the agent is able to train."""
        ...

    async def initial_model(
        self, agent: Endpoint, store: ModelStore, *, local: Sequence[str] = (), task_id: str = ""
    ) -> StoredFile:
        """Fetch initial parameters into `store`. The question has an id, so that another owner can ask it again."""
        ...

    async def has_frozen(self, agent: Endpoint, frozen_id: str) -> bool:
        """Tell whether the agent has kept the frozen tensors of this id."""
        ...

    async def hand_over(
        self,
        agent: Endpoint,
        task_id: str,
        body: TaskBody,
        spool: ModelStore,
        *,
        accept: str = IDENTITY,
        limit: int | None = None,
        partly: bool = False,
    ) -> Reply:
        """Give a task to the agent. To give it again changes nothing."""
        ...

    async def poll(
        self,
        agent: Endpoint,
        task_id: str,
        wait: float,
        spool: ModelStore,
        *,
        accept: str = IDENTITY,
        limit: int | None = None,
    ) -> Reply:
        """Ask for the result of a task, and wait for it for up to `wait` seconds."""
        ...

    async def forget(self, agent: Endpoint, task_id: str) -> None:
        """Say that a task's result is stored or no longer wanted."""
        ...

    def moved_at(self, agent: Endpoint, task_id: str) -> float | None:
        """Return when bytes of a task were last seen to move, unix seconds, and forget it; None if they were not."""
        ...


class Channels:
    """The channel of every agent: `push` calls those with an address, and `pull` waits for the others to ask."""

    def __init__(self, push: Channel, pull: Channel, metrics: Metrics) -> None:
        self._push = push
        self._pull = pull
        self._metrics = metrics

    async def health(self, agent: Endpoint) -> Health:
        """Find out whether the agent is able to train."""
        return await self._of(agent).health(agent)

    async def initial_model(
        self, agent: Endpoint, store: ModelStore, *, local: Sequence[str] = (), task_id: str = ""
    ) -> StoredFile:
        """Fetch initial parameters into `store`. Raises `AgentFailed`."""
        return await self._of(agent).initial_model(agent, store, local=local, task_id=task_id)

    async def has_frozen(self, agent: Endpoint, frozen_id: str) -> bool:
        """Tell whether the agent has kept the frozen tensors of this id."""
        return await self._of(agent).has_frozen(agent, frozen_id)

    async def hand_over(
        self,
        agent: Endpoint,
        task_id: str,
        body: TaskBody,
        spool: ModelStore,
        *,
        accept: str = IDENTITY,
        limit: int | None = None,
        partly: bool = False,
    ) -> Reply:
        """Give a task to the agent. Raises `AgentFailed`."""
        self._metrics.tasks_handed_over.labels("pull" if agent.pulls else "push").inc()
        channel = self._of(agent)
        return await channel.hand_over(agent, task_id, body, spool, accept=accept, limit=limit, partly=partly)

    async def poll(
        self,
        agent: Endpoint,
        task_id: str,
        wait: float,
        spool: ModelStore,
        *,
        accept: str = IDENTITY,
        limit: int | None = None,
    ) -> Reply:
        """Ask for the result of a task. Raises `AgentFailed`."""
        return await self._of(agent).poll(agent, task_id, wait, spool, accept=accept, limit=limit)

    async def forget(self, agent: Endpoint, task_id: str) -> None:
        """Say that a task's result is stored or no longer wanted."""
        await self._of(agent).forget(agent, task_id)

    def moved_at(self, agent: Endpoint, task_id: str) -> float | None:
        """Return when bytes of a task were last seen to move, unix seconds, and forget it; None if they were not."""
        return self._of(agent).moved_at(agent, task_id)

    def _of(self, agent: Endpoint) -> Channel:
        return self._pull if agent.pulls else self._push
