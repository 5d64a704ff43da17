"""Handle one connection from its begin to its end.

This is uvicorn's protocol with h11, also if faster parsers are installed. h11 gives one event at a time, so that a body
can be held back between two events. Parsers with callbacks process everything that was received at once.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from tcsfeel.inbound import pace
from tcsfeel.inbound.arrivals import Arrivals
from tcsfeel.inbound.parsing import HEAD_BYTES, Parser
from tcsfeel.inbound.transport import HeldFlow, LingeringTransport, Patience
from tcsfeel.inbound.welcoming import EXTENSION, KNOWN

CLOSE = (b"connection", b"close")
NO_PAGE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""Headers of the answers that are made here: browsers neither guess their type nor store them."""
RETRY_SECONDS = 1
HEAD_IS_TOO_LONG = (
    f"the request line and its headers have more than {HEAD_BYTES} bytes: shorten the path, or send fewer headers"
)
PIECE_BYTES = 262_144  # of an answer that are written before the caller has to read some of them


class Connection(H11Protocol, asyncio.BufferedProtocol):
    """Speaks HTTP/1.1 to one caller within the bounds of its server."""

    conn: Parser
    server_state: Arrivals
    transport: LingeringTransport

    def __init__(
        self,
        config: Config,
        server_state: Arrivals,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = Parser()
        self._bounds = server_state.bounds
        self._application: Any = self.app
        self.app = self._answer
        self._head = _Deadline(self._bounds.head_seconds, self._head_is_late)
        self._refusing: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """The IP address of the caller."""
        return "" if self.client is None else self.client[0]

    @property
    def idle(self) -> bool:
        """Tell whether no request is being answered, and the last answer has been sent."""
        return self.conn.our_state is h11.IDLE and self.transport.get_write_buffer_size() == 0

    def evict(self) -> None:
        """Close the connection at once, whatever is still to be sent."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        lingering = LingeringTransport(transport, linger_seconds=self._bounds.linger_seconds, unread=self._is_unread)
        self._patience = Patience(
            self._bounds.stall_seconds,
            self._bounds.answer_rate,
            loop=self.loop,
            sent=lambda: lingering.sent,
            give_up=self._reads_too_slowly,
        )
        super().connection_made(lingering)
        self.flow = HeldFlow(lingering, self.conn)
        # So writing is paused exactly as long as a part of an answer has not been sent. A transport with TLS pauses it
        # at this size, others above it.
        transport.set_write_buffer_limits(high=0 if transport.get_extra_info("sslcontext") is None else 1)
        self.server_state.arrive(self)
        self._head.start()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.server_state.leave(self)
        self.transport.lost()
        self._head.stop()
        self._patience.stop()
        if self._refusing is not None:
            self._refusing.cancel()
        super().connection_lost(None)  # with an error, uvicorn would leave its timer running
        # Nothing of it refers to it any more. To collect garbage would hold the loop.
        self.app = self._application
        self._head.call = self._patience.give_up = self.transport.abort

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return the buffer for the next bytes: a smaller one for a head, which is parsed as a whole."""
        return self.server_state.buffer if self.conn.unread else self.server_state.buffer[: HEAD_BYTES // 2]

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.server_state.buffer[:nbytes]))

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._head.stop()
        elif self.conn.trailing_data[0]:
            self._head.start()

    def send_400_response(self, msg: str) -> None:
        error = sys.exception()
        if error is not None:
            error.__traceback__ = None  # or it and h11's frames form a cycle
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else HTTPStatus.BAD_REQUEST
        too_long = status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self._refuse(HTTPStatus(status), HEAD_IS_TOO_LONG if too_long else str(error or msg))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._patience.start()

    def resume_writing(self) -> None:
        self._patience.stop()
        super().resume_writing()
        self.transport.emptied()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, unless its last answer is still being sent."""
        if self.transport.get_write_buffer_size() == 0:
            super().timeout_keep_alive_handler()

    def _is_unread(self) -> bool:
        # While a refusal waits, nothing is read, and the caller may go on sending.
        return self.conn.unread or self.conn.their_state is h11.ERROR or self._refusing is not None

    def _head_is_late(self) -> None:
        received, _ = self.conn.trailing_data
        if received:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the head took more than {self._bounds.head_seconds:g} s")
        else:
            self.server_state.note_refused(self.address, HTTPStatus.REQUEST_TIMEOUT)
            self.transport.close()

    def _reads_too_slowly(self) -> None:
        self.server_state.note_refused(self.address, HTTPStatus.REQUEST_TIMEOUT)
        self.evict()

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer in place of the application, if that has not begun to answer, and close the connection."""
        if self._refusing is not None:
            return
        self.server_state.note_refused(self.address, status)
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()
            return
        if self.cycle is not None:  # the application is told that the caller is gone, and its answer is not sent
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.pause_reading()
        self._refusing = self.loop.create_task(self._end(status, detail))

    async def _end(self, status: HTTPStatus, detail: str) -> None:
        """Refuse a request that cannot be processed, as soon as the address may be refused again."""
        if not await self.server_state.refusals.wait(self.address):
            self.transport.abort()
            return
        body = json.dumps({"title": status.phrase, "status": int(status), "detail": detail[:300]}).encode()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            *NO_PAGE,
            CLOSE,
        ]
        events = (
            h11.Response(status_code=status, headers=headers, reason=status.phrase.encode()),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the application, which asks for the body. If it answers before the body ends, close the connection."""
        scope["extensions"] = {
            **scope.get("extensions", {}),
            EXTENSION: lambda device=False: self.server_state.welcome(self, device),
            KNOWN: self.server_state.knows(self),
            pace.EXTENSION: self._patience.renew,
        }
        started = False
        sending = pace.Pace(self._bounds.grace_seconds, self._bounds.body_rate)
        self._patience.renew(self._bounds.answer_rate)

        async def ask() -> Any:
            if not self.conn.unread:
                return await receive()
            self.conn.release()
            self.handle_events()
            began = self.loop.time()
            try:
                async with asyncio.timeout(sending.left):
                    message = await receive()
            except TimeoutError:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the body arrives too slowly: it {sending}")
                return {"type": "http.disconnect"}
            sending.spend(self.loop.time() - began, len(message.get("body", b"")))
            await asyncio.sleep(0)  # bytes that have already been received would be processed without a pause
            return message

        async def tell(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self.conn.unread:
                    message = {**message, "headers": [*message.get("headers", ()), CLOSE]}
            body = memoryview(message.get("body", b""))
            while len(body) > PIECE_BYTES:
                await send({"type": "http.response.body", "body": body[:PIECE_BYTES], "more_body": True})
                await asyncio.sleep(0)  # a kernel that takes each piece at once would hold the loop
                body = body[PIECE_BYTES:]
                message = {**message, "body": body}
            await send(message)

        try:
            await self._refuse_in_turn(scope, ask, tell)
        except asyncio.CancelledError:  # the server stops
            if started:
                raise
            await _unavailable(tell)
        finally:
            scope["extensions"].clear()  # they refer to this connection: nothing may read them later

    async def _refuse_in_turn(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the application. A refusal is sent after the application has ended, when the address may be refused."""
        refusal: list[Any] = []

        async def hear(message: Any) -> None:
            if refusal or self.is_refusal(message):
                refusal.append(message)
            else:
                await send(message)

        await self._application(scope, receive, hear)
        if refusal and not await self.server_state.refusals.wait(self.address):
            self.cycle.disconnected = True
            self.evict()
        for message in refusal:
            await send(message)

    def is_refusal(self, message: Any) -> bool:
        """Tell whether this message begins an answer that refuses the call."""
        # 404 to a caller with a key does not count, because a whole fleet gets it if a server has lost its database.
        status = message.get("status", 0)
        known = status == HTTPStatus.NOT_FOUND and self.server_state.knows(self)
        return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and not known


async def _unavailable(send: Any) -> None:
    headers = [(b"content-length", b"0"), (b"retry-after", str(RETRY_SECONDS).encode()), *NO_PAGE, CLOSE]
    await send({"type": "http.response.start", "status": HTTPStatus.SERVICE_UNAVAILABLE, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class _Deadline:
    """Calls a function after some time, unless it is stopped before."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._seconds = seconds
        self.call = call
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to count, if it has not begun yet."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self.call)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
