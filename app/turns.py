"""Give turns on the event loop, so that a crowd of tasks does not keep all others waiting.

The loop runs all that is ready before it looks at its sockets again. All tasks of a round become ready together: when
it begins, when the trainers finish. Each needs a millisecond here and there; together they would hold up every request
to the API by the sum of it, once for each time that the request has to wait for something. So before a piece of work a
task takes a turn, and each pass of the loop gives a few of them, to one party after the other (`app.sharing`). Calls to
the API become ready together as well, for example when a fleet sends its heartbeats, and would hold up the rounds.
"""

import asyncio
from collections import deque

from app.sharing import current_party

PER_PASS = 4  # a pass costs some 0.1 ms itself, and nothing that takes a turn should take more than 1 ms


class Turns:
    """Gives `per_pass` turns in each pass of the loop, to the parties in rotation; within a party, in their order."""

    def __init__(self, per_pass: int = PER_PASS) -> None:
        self._per_pass = per_pass
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._passing = False

    async def take(self, party: str | None = None) -> None:
        """Return in a pass of the loop that still has a turn to give. Without `party`, the context's counts."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(current_party() if party is None else party, deque()).append(turn)
        if not self._passing:
            self._passing = True
            loop.call_soon(self._pass)
        await turn

    def _pass(self) -> None:
        given = 0
        while self._waiting and given < self._per_pass:
            whose = next(iter(self._waiting))
            queue = self._waiting.pop(whose)
            turn = queue.popleft()
            if queue:
                self._waiting[whose] = queue
            if not turn.done():  # else it was called off
                turn.set_result(None)
                given += 1
        self._passing = bool(self._waiting)
        if self._passing:
            asyncio.get_running_loop().call_soon(self._pass)
