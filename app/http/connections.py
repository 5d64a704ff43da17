"""Handle the connections of the control plane, whose requests are mostly short and usual.

A usual request (`app.http.heads`) that finds its connection at rest is answered by an `Exchange`. Every other one goes
to h11, as on the connections of agents. h11 knows nothing of the requests in between: between two requests it has no
state, so either of the two may take the next one.
"""

from http import HTTPStatus

import h11

from app.http.exchanges import ARRIVED, Exchange
from app.http.heads import Head, usual_head
from tcsfeel.inbound import pace
from tcsfeel.inbound.connection import Connection
from tcsfeel.inbound.pace import Pace
from tcsfeel.inbound.parsing import HEAD_BYTES
from tcsfeel.inbound.welcoming import EXTENSION, KNOWN


class QuickConnection(Connection):
    """Speaks HTTP/1.1 to one caller, within the bounds of its server, and as quickly as possible for usual requests."""

    _exchange: Exchange | None = None

    @property
    def idle(self) -> bool:
        """Tell whether no request is being answered, and the last answer has been sent."""
        return self._exchange is None and super().idle

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next bytes: small during an exchange, so that little is kept of later requests."""
        if self._exchange is not None:
            return self.server_state.buffer[: HEAD_BYTES - len(self._exchange.later)]
        return super().get_buffer(sizehint)

    def data_received(self, data: bytes) -> None:
        """Take bytes: the rest of a request that is being answered, or the begin of the next one."""
        exchange = self._exchange
        if exchange is not None:
            exchange.feed(data)
            if len(exchange.later) >= HEAD_BYTES:  # until then, reading goes on, since it tells when the caller leaves
                self.flow.pause_reading()
            return
        head = usual_head(data) if self._rests else None
        if head is None:
            super().data_received(data)
        else:
            self._begin(head, data[head.size :])

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget_exchange()

    def on_response_complete(self) -> None:
        """Go on with the bytes that came after the request."""
        exchange = self._forget_exchange()
        super().on_response_complete()
        if exchange is not None and exchange.later and not self.transport.is_closing():
            self.data_received(exchange.later)

    def refuse_slow_body(self, sending: Pace) -> None:
        """Refuse a request whose body does not arrive at this pace."""
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the body arrives too slowly: it {sending}")

    @property
    def _rests(self) -> bool:
        """Tell whether h11 waits for a request, and has received nothing of it."""
        conn = self.conn
        at_rest = conn.their_state is h11.IDLE and conn.our_state is h11.IDLE
        return at_rest and not conn.trailing_data[0] and self._refusing is None and not self.transport.is_closing()

    def _is_unread(self) -> bool:
        return super()._is_unread() or (self._exchange is not None and self._exchange.unread)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        if self._exchange is not None and self._exchange.response_started:
            self.server_state.note_refused(self.address, status)
            self.transport.abort()
        else:
            super()._refuse(status, detail)

    def _begin(self, head: Head, rest: bytes) -> None:
        """Run the application for a request."""
        self._unset_keepalive()
        self._head.stop()
        path, raw_path, query = head.path
        scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": head.method,
            "root_path": "",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": head.headers,
            "state": self.app_state.copy(),
            "extensions": {
                EXTENSION: self._welcome,
                KNOWN: self.server_state.knows(self),
                pace.EXTENSION: self._patience.renew,
                ARRIVED: len(rest) >= head.body_bytes,
            },
        }
        self._patience.renew(self._bounds.answer_rate)
        exchange = self._exchange = self.cycle = Exchange(self, scope, head.body_bytes)  # type: ignore[assignment]  # in place of uvicorn's
        if rest or head.body_bytes:
            self.data_received(rest)
        task = self.loop.create_task(exchange.run(self._application))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _forget_exchange(self) -> Exchange | None:
        """Return the exchange, if there is one, which this connection no longer refers to."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self.cycle = None  # type: ignore[assignment]  # as before the first request
        return exchange

    def _welcome(self, device: bool = False) -> None:
        self.server_state.welcome(self, device)

    def _unset_keepalive(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
