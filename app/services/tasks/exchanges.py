"""HTTP/1.1 with an agent: one request and its response at a time on one connection, bounded in bytes, steps and time.

A response may have:

- at most `_INTERIM` interim responses (1xx) before it, and a head as `heads.py` says;
- a body as `framing.py` says, which is received into a few buffers (`receiving.py`), however long it is.
"""

from collections.abc import AsyncIterable

from app.services.tasks.blocks import Blocks
from app.services.tasks.breaks import CUT, NOT_HTTP, Broken
from app.services.tasks.heads import HEAD_BYTES, Head, NotHttp, begins_like_http, read_head
from app.services.tasks.patience import Patience
from app.services.tasks.receiving import Body
from app.services.tasks.requests import Request
from app.services.tasks.wires import Wire

_INTERIM = 8
_REFUSING = 300  # and beyond: an agent that answers so has no use for the rest of a task
_JOINED_BYTES = 1 << 16  # that are copied, so that they are sent at once
_WRITTEN_BYTES = 1 << 18  # that are written at once: asyncio copies those that the system does not take
_END = b"\r\n\r\n"


class Exchange:
    """A connection on which requests are sent, one after the other."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._head: Head | None = None  # of the response
        self._body: Body | None = None
        self._interim = 0
        self._looked_at = 0  # bytes of a head in which its end is not
        self._is_sent = True
        self.used = False  # whether it has answered before: then the agent may be hanging up just now
        self.proved: str | None = None  # the key of the device that has last signed an answer over it

    @property
    def is_usable(self) -> bool:
        """Tell whether a request can be sent."""
        return self._wire.is_quiet

    async def ask(self, request: Request, sending: Patience, answering: Patience) -> Head:
        """Send a request, and return the head of the response.

        Raises:
            Broken: the agent sent something else than a response.
            ConnectionError: it closed the connection before it answered.
            TooSlow: it took too long.
            ValueError: the request cannot be sent.
        """
        self._head, self._interim, self._looked_at = None, 0, 0
        self._is_sent = False
        await self._send(request.head(), request.body, sending)
        while (head := self._look()) is None:
            if self._wire.ended:
                if not self._wire.filled and not self._interim:
                    raise ConnectionResetError
                raise Broken(CUT)
            await self._wire.receive(self._wire.filled + 1, answering)
        return head

    def body(self, head: Head, patience: Patience, blocks: Blocks) -> Body:
        """Return the body of the response. `blocks` lends buffers for it."""
        self._body = Body(self._wire, head, patience, blocks)
        return self._body

    def finish(self) -> bool:
        """End the exchange. Returns whether the connection can be used for another one; otherwise it is closed."""
        whole = self._body is not None and self._body.skip() and not self._wire.ended
        if whole and self._is_sent and self._head is not None and self._head.keeps:
            self._release()
            self.used = True
            return True
        self.close()
        return False

    def close(self) -> None:
        """Close the connection, also in the middle of an exchange."""
        self._wire.close()
        self._release()

    def _release(self) -> None:
        if self._body is not None:
            self._body.release()
            self._body = None

    async def _send(self, head: bytes, body: AsyncIterable[bytes | memoryview] | None, patience: Patience) -> None:
        """Send a request. An agent that refuses it before all is sent does not get the rest."""
        held: bytes | memoryview = head
        if body is not None:
            async for piece in body:
                if len(held) + len(piece) <= _JOINED_BYTES:
                    held = b"".join((held, piece))
                elif await self._write(held, patience):
                    held = piece
                else:
                    return
        self._is_sent = await self._write(held, patience)

    async def _write(self, data: bytes | memoryview, patience: Patience) -> bool:
        """Write some bytes, and wait until there is room for more. Returns False if the agent wants no more."""
        view, wire = memoryview(data), self._wire
        for start in range(0, len(view), _WRITTEN_BYTES):
            try:
                wire.write(view[start : start + _WRITTEN_BYTES])
            except ConnectionError:
                if not wire.filled and not self._interim:
                    raise
                return False  # it may have said why
            while True:
                early = self._look()
                if early is not None and early.status >= _REFUSING:
                    return False
                if not wire.full:
                    break
                await wire.room(patience)
        return True

    def _look(self) -> Head | None:
        """Look for the head of the response in what has come. Raises `Broken`."""
        wire = self._wire
        while self._head is None and wire.filled > self._looked_at:
            start = max(0, self._looked_at - len(_END) + 1)
            found = bytes(wire.target[start : wire.filled]).find(_END)
            if found < 0:
                self._look_at_beginning()
                return None
            end = start + found
            try:
                head = read_head(bytes(wire.target[:end]))
            except NotHttp as error:
                raise Broken(NOT_HTTP) from error
            rest = wire.target[end + len(_END) : wire.filled]
            wire.target[: len(rest)] = rest
            wire.receive_into(wire.target, len(rest))
            self._looked_at = 0
            if not head.is_interim:
                self._head = head
                break
            self._interim += 1
            if self._interim > _INTERIM:
                raise Broken(f"the agent sent more than {_INTERIM} interim answers (1xx)")
        return self._head

    def _look_at_beginning(self) -> None:
        """Look at a head that has not come to its end, and make room for more of it. Raises `Broken`."""
        wire = self._wire
        beginning = wire.target[: wire.filled]
        if not begins_like_http(bytes(beginning[:8])) or wire.filled >= HEAD_BYTES:
            raise Broken(NOT_HTTP)
        self._looked_at = wire.filled
        if wire.filled == len(wire.target):
            longer = memoryview(bytearray(HEAD_BYTES))
            longer[: wire.filled] = beginning
            wire.receive_into(longer, wire.filled)
