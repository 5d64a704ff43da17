"""Give turns on the event loop, so that a crowd of tasks does not keep all others waiting.

The loop runs all that is ready before it looks at its sockets again. All tasks of a round become ready together: when
it begins, when the trainers finish. Each needs a millisecond here and there; together they would hold up every request
to the API by the sum of it, once for each time that the request has to wait for something. So before a piece of work a
task takes a turn, and each pass of the loop gives a few of them, to one party after the other (`app.sharing`). It gives
a single one while passes take long.

Calls to the API become ready together as well, for example when a fleet sends its heartbeats or when strangers attack,
and would hold up the rounds. They take turns, too (`CallTurns`): callers that have shown a key over their connection
come first, and strangers use what is left of the loop's time, as long as they do not have to queue for long.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from app.sharing import current_party

PER_PASS = 4  # a pass costs some 0.1 ms itself, and nothing that takes a turn should take more than 1 ms
BUSY_SECONDS = 0.001
"""If the rest of a pass of the loop takes longer, there is other work: strangers wait for it, and rounds get a single
turn, since a request to the API has to wait for some five passes."""
STRANGER_SECONDS = 0.005
"""How long strangers wait for other work at most, from one of them to the next."""
CALL_SECONDS = 0.001
"""A call of a caller that has shown a key begins in the same pass of the loop if none waits and the last one began so
long ago: a pass costs a tenth of a short call."""
CROWD_SECONDS = 0.5
"""Strangers that have been waiting without a pause for longer than this are no burst, and do not wait any more."""


class _Row:
    """Tasks that wait for a turn: the parties in rotation, and the tasks of a party in their order."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self.served: str | None = None  # the party that has had the last turn

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def join(self, party: str) -> asyncio.Future[None]:
        """Return what is done when the turn has come."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(party, deque()).append(turn)
        return turn

    def give(self) -> bool:
        """Give the next turn, if a task waits for one that was not called off. Tells whether one was given."""
        while self._waiting:
            parties = iter(self._waiting)
            if (whose := next(parties)) == self.served:
                whose = next(parties, whose)
            queue = self._waiting.pop(whose)
            turn = queue.popleft()
            if queue:
                self._waiting[whose] = queue
            if not turn.done():
                self.served = whose
                turn.set_result(None)
                return True
        return False


class Turns:
    """Gives turns in each pass of the loop, to the parties in rotation; within a party, in their order.

    These are `PER_PASS` turns, or a single one if the last pass took longer than `BUSY_SECONDS`.
    """

    def __init__(self, time: Callable[[], float] | None = None) -> None:
        self._time = time or (lambda: asyncio.get_running_loop().time())  # seconds, for tests
        self._row = _Row()
        self._passing = False
        self._left = 0.0  # when the last pass was left

    async def take(self, party: str | None = None) -> None:
        """Return in a pass of the loop that still has a turn to give. Without `party`, the context's counts."""
        turn = self._row.join(current_party() if party is None else party)
        if not self._passing:
            self._passing, self._left = True, self._time()
            asyncio.get_running_loop().call_soon(self._pass)
        await turn

    def _pass(self) -> None:
        took = self._time() - self._left
        for _ in range(1 if took > BUSY_SECONDS else PER_PASS):
            self._row.give()
        self._left = self._time()
        self._passing = bool(self._row)
        if self._passing:
            asyncio.get_running_loop().call_soon(self._pass)


class CallTurns:
    """Lets calls of the API begin one after the other, of one address after the other.

    In each pass of the loop one call begins of the callers that have shown a key over their connection. Once in
    `CALL_SECONDS` such a call begins at once, if no call waits. A call of a stranger begins if no such call does and
    the loop has little other work, or if the last one began `STRANGER_SECONDS` ago. If strangers have been waiting for
    `CROWD_SECONDS`, one of their calls begins in each pass.
    """

    def __init__(self, time: Callable[[], float] | None = None) -> None:
        self._time = time or (lambda: asyncio.get_running_loop().time())  # seconds, for tests
        self._known = _Row()
        self._strangers = _Row()
        self._passing = False
        self._left = 0.0  # when the last pass was left
        self._admitted = 0.0  # when the last call of a stranger began
        self._crowded = 0.0  # since when strangers have been waiting without a pause
        self._began = -CALL_SECONDS  # when the last call began that did not have to wait

    async def take(self, address: str, *, known: bool) -> None:
        """Return when a call from an address may begin. `known` tells whether its sender has shown a key before."""
        if known and not self._passing and (now := self._time()) - self._began >= CALL_SECONDS:
            self._began, self._known.served = now, address
            return
        if not known and not self._strangers:
            self._crowded = self._time()
        turn = (self._known if known else self._strangers).join(address)
        if not self._passing:
            self._passing, self._left = True, self._time()
            asyncio.get_running_loop().call_soon(self._pass)
        await turn

    def _pass(self) -> None:
        now = self._time()
        idle = not self._known.give() and now - self._left < BUSY_SECONDS
        due = now - self._admitted >= STRANGER_SECONDS or now - self._crowded >= CROWD_SECONDS
        if (idle or due) and self._strangers.give():
            self._admitted = now
        self._left = self._time()
        self._passing = bool(self._known or self._strangers)
        if self._passing:
            asyncio.get_running_loop().call_soon(self._pass)
