"""When bytes of bodies last moved to and from the agents that this process calls."""

from app.clock import Clock
from app.domain.clients import Endpoint

MOST = 10_000  # tasks and agents that are remembered

_Place = tuple[str | None, str | None, str | None]


class Moves:
    """The last movements by task, and by agent at its address. Instants are unix seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[str, float] = {}
        self._agents: dict[_Place, float] = {}

    def note(self, agent: Endpoint, task_id: str) -> None:
        """Note that bytes of a body of a task have moved just now."""
        now = self._clock.now()
        for known in (self._tasks, self._agents):
            if len(known) >= MOST:
                known.clear()
        self._tasks[task_id] = self._agents[_place(agent)] = now

    def take(self, task_id: str) -> float | None:
        """Return when bytes of a task last moved, and forget it; None if none have."""
        return self._tasks.pop(task_id, None)

    def is_moving(self, agent: Endpoint, seconds: float) -> bool:
        """Tell whether bytes have moved to or from an agent at its present address within so many seconds."""
        moved = self._agents.get(_place(agent))
        return moved is not None and 0 <= self._clock.now() - moved <= seconds


def _place(agent: Endpoint) -> _Place:
    return agent.client_id, agent.url, agent.public_key
