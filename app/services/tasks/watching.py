"""Wait for changes in the mailbox, without a query for each of those who wait.

One loop in each process reads the states of all tasks that were not cancelled, in one statement, and wakes the agents
and the owners that wait for one of them. It looks at once after a hint, which is given by every change of this process,
and by notices of other servers on Postgres. It also looks once in `PERIOD`, which finds changes whose hint was lost.
While nothing waits, it asks nothing.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.clock import Clock
from app.domain.mailbox import MOST_KNOWN, MailState
from app.services.tasks.hints import Hints
from app.store.database import Database
from app.store.mailbox import MOST_OPEN

PERIOD = 1.0  # seconds
OUTDATED_SECONDS = 2 * PERIOD  # after which the last look says nothing any more


@dataclass(frozen=True, slots=True)
class News:
    """What an agent that waited is told.

    Attributes:
        task: whether there may be a task that it does not know.
        unwanted: those of the tasks that it knows that are no longer wanted.
        leave: whether it should come back later: the server stops, or another call of this client has taken its place.
    """

    task: bool = False
    unwanted: tuple[str, ...] = ()
    leave: bool = False


@dataclass(eq=False, slots=True)
class _Agent:
    """An agent that waits for a task which is not among those that it knows."""

    known: frozenset[str]
    news: asyncio.Future[News]


@dataclass(eq=False, slots=True)
class _Owner:
    """An owner that waits until a task has another state than the one that it has seen."""

    seen: MailState
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class TaskWatch:
    """The waits for tasks of one process. `places` is how many agents may wait."""

    def __init__(self, db: Database, clock: Clock, *, places: int) -> None:
        self._db = db
        self._clock = clock
        self._places = places
        self._agents: dict[str, _Agent] = {}
        self._working: set[str] = set()  # the clients whose agents wait and have tasks
        self._owners: defaultdict[str, set[_Owner]] = defaultdict(set)
        self._hints = Hints()
        self._looked_at = -math.inf
        self._of_clients: dict[str, dict[str, bool]] = {}  # the tasks, each with whether it may be taken
        self._moved: dict[str, float] = {}
        self._stopping = False

    @property
    def waiting(self) -> int:
        """How many agents wait."""
        return len(self._agents)

    @property
    def load(self) -> float:
        """Which share of the places is taken; 1 if no agent may wait any more."""
        return 1.0 if self._stopping else min(1.0, len(self._agents) / self._places)

    def may_have(self, client_id: str, known: Collection[str]) -> bool:
        """Tell whether a client may have a task that its agent does not know.

        If the last look was lately, it knows, and an agent that waits is woken by the next one.
        """
        if self._is_outdated:
            return True
        return _is_new(self._of_clients.get(client_id, {}), known)

    def moved_at(self, task_id: str) -> float | None:
        """Return when bytes of an open task last moved, by the last look, unix seconds; None if they have not."""
        return self._moved.get(task_id)

    def hint(self) -> None:
        """Look at once, because something has changed."""
        self._hints.give()

    @contextmanager
    def agent(self, client_id: str, known: Collection[str]) -> Iterator[asyncio.Future[News]]:
        """Let the agent of a client wait until the block ends.

        Another call of the same client takes its place: a proxy may have cut the earlier one without telling.
        """
        self._dismiss(client_id)
        agent = _Agent(frozenset(known), asyncio.get_running_loop().create_future())
        self._agents[client_id] = agent
        if known:
            self._working.add(client_id)
        else:
            self._working.discard(client_id)
        self._look_soon()
        if self._stopping:
            self._dismiss(client_id)
        try:
            yield agent.news
        finally:
            agent.news.cancel()
            if self._agents.get(client_id) is agent:
                del self._agents[client_id]
                self._working.discard(client_id)

    @contextmanager
    def owner(self, task_id: str, seen: MailState) -> Iterator[asyncio.Event]:
        """Let an owner wait until the block ends; the event is set when the task has another state."""
        owner = _Owner(seen)
        self._owners[task_id].add(owner)
        self._look_soon()
        try:
            yield owner.changed
        finally:
            self._owners[task_id].discard(owner)
            if not self._owners[task_id]:
                del self._owners[task_id]

    async def look(self) -> None:
        """Read the states of the tasks, and wake those whose wait is over."""
        agents, owners = dict(self._agents), {name: set(those) for name, those in self._owners.items()}
        if not agents and not owners:
            return
        began = time.monotonic()
        async with self._db.glance() as tx:
            tasks = await tx.mailbox.glance(self._clock.now())
        is_whole = len(tasks) < MOST_OPEN  # else a task that is missing may be wanted all the same
        states = {task.id: task.state for task in tasks}
        of_clients: defaultdict[str, dict[str, bool]] = defaultdict(dict)
        for task in tasks:
            of_clients[task.client_id][task.id] = task.takable
        self._of_clients, self._looked_at = dict(of_clients), began
        self._moved = {task.id: task.moved_at for task in tasks if task.moved_at is not None}
        # Most agents that wait have no task at all: only the others are looked at.
        for client_id in of_clients.keys() | {client_id for client_id in self._working if client_id in agents}:
            if (agent := agents.get(client_id)) is None:
                continue
            mine = self._of_clients.get(client_id, {})
            is_new = _is_new(mine, agent.known)
            unwanted = tuple(sorted(agent.known - mine.keys())) if is_whole else ()
            if (is_new or unwanted) and not agent.news.done():
                agent.news.set_result(News(is_new, unwanted))
        for name, those in owners.items():
            for owner in those:
                if states.get(name, owner.seen) != owner.seen:
                    owner.changed.set()

    async def run(self) -> None:
        """Look after each hint, and once in a period, until cancelled."""
        await self._hints.follow(self.look, PERIOD)

    def stop(self) -> None:
        """Let every agent leave, those to come included: the server stops."""
        self._stopping = True
        for client_id in list(self._agents):
            self._dismiss(client_id)

    def _dismiss(self, client_id: str) -> None:
        agent = self._agents.pop(client_id, None)
        if agent is not None and not agent.news.done():
            agent.news.set_result(News(leave=True))

    def _look_soon(self) -> None:
        """Look at once if the last look is so long ago that it says nothing to those who come now."""
        if self._is_outdated:
            self.hint()

    @property
    def _is_outdated(self) -> bool:
        return time.monotonic() - self._looked_at > OUTDATED_SECONDS


def _is_new(mine: Mapping[str, bool], known: Collection[str]) -> bool:
    """Tell whether one of a client's tasks may be taken by an agent that knows some, and is able to name another."""
    return len(known) < MOST_KNOWN and any(takable and name not in known for name, takable in mine.items())
