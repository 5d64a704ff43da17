"""Accept connections, even when the process runs out of descriptors.

In that case, `asyncio`'s own server tries again as often as its backlog is long. Each time it sets a timer, which still
exists after the listener is closed. Here one task for each listener accepts a few connections at a time, makes room for
new ones, and pauses.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable

from tcsfeel.inbound.arrivals import Arrivals

AT_ONCE = 2  # connections that are accepted in one turn of the event loop
UNSENT_BYTES = 1 << 17
"""How many bytes of an answer the system holds that it has not sent. By default it holds megabytes, and a body over a
slow link seems to stand still for as long as it takes to send a third of them."""
PAUSE_SECONDS = 0.1  # after a failure to accept, if no room could be made
SHUTDOWN_SECONDS = 5.0  # that the other side has to end TLS, after which the connection is closed
QUIET_SECONDS = 10.0  # between two log lines about such failures
SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = logging.getLogger(__name__)


class Acceptor:
    """Accepts the connections of one listening socket until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        arrivals: Arrivals,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        listener.setblocking(False)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # accepted connections have it from their listener
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listener.listen(arrivals.bounds.backlog)
        self._listener = listener
        self._protocol = protocol
        self._arrivals = arrivals
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._reserve = _spare()
        self._refusals = 0
        self._quiet_until = 0.0
        self._starting: dict[asyncio.Task[None], None] = {}  # with TLS, those that shake hands
        self._accepting = asyncio.create_task(self._accept())

    async def close(self) -> None:
        """Stop accepting. The caller has to close the listening socket."""
        self._accepting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._accepting
        await asyncio.sleep(0)  # so that each of them has begun, and closes its socket
        while self._give_up_handshake():
            pass
        if self._starting:
            await asyncio.wait(self._starting)
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    async def _accept(self) -> None:
        while True:
            for _ in range(AT_ONCE):
                try:
                    accepted, _address = await self._loop.sock_accept(self._listener)
                except ConnectionAbortedError:  # the caller is gone already
                    continue
                except OSError as error:
                    await self._recover(error)
                else:
                    if len(self._starting) >= self._arrivals.bounds.stranger_places:
                        self._give_up_handshake()
                    task = self._loop.create_task(self._start(accepted))
                    self._starting[task] = None
                    task.add_done_callback(self._starting.pop)
                    if self._reserve is None:
                        self._reserve = _spare()
            await asyncio.sleep(0)

    async def _start(self, accepted: socket.socket) -> None:
        try:
            if self._tls is None:
                await self._loop.connect_accepted_socket(self._protocol, accepted)
            else:
                await self._loop.connect_accepted_socket(
                    self._protocol,
                    accepted,
                    ssl=self._tls,
                    ssl_handshake_timeout=self._arrivals.bounds.head_seconds,
                    ssl_shutdown_timeout=SHUTDOWN_SECONDS,
                )
        except OSError:  # the caller is gone already, or does not speak TLS
            accepted.close()

    def _give_up_handshake(self) -> bool:
        """Close the connection whose TLS handshake takes longest. Tells whether there was one."""
        oldest = next((task for task in self._starting if self._tls is not None and not task.cancelling()), None)
        return oldest is not None and oldest.cancel()

    async def _recover(self, error: OSError) -> None:
        """Make room for the next connection, or wait if that is not possible."""
        if error.errno in SHORTAGES:
            await self._caller()
        self._complain(error)
        if error.errno in SHORTAGES:
            if self._arrivals.make_room() or self._give_up_handshake():
                await asyncio.sleep(0)  # meanwhile the connections that were given up close their descriptors
                return
            if self._reserve is not None:
                os.close(self._reserve)
                self._reserve = None
                return
        await asyncio.sleep(PAUSE_SECONDS)

    async def _caller(self) -> None:
        """Wait for a caller. Without a free descriptor, accepting fails on Linux even if there is no caller."""
        there = asyncio.Event()
        self._loop.add_reader(self._listener, there.set)
        try:
            await there.wait()
        finally:
            self._loop.remove_reader(self._listener)

    def _complain(self, error: OSError) -> None:
        self._refusals += 1
        if self._loop.time() < self._quiet_until:
            return
        log.warning(
            "A connection cannot be accepted: %s (%d times since the last line about it). Connections of callers "
            "without a key are closed to make room. Raise the limit of open files (ulimit -n).",
            error.strerror or error,
            self._refusals,
        )
        self._refusals = 0
        self._quiet_until = self._loop.time() + QUIET_SECONDS


def _spare() -> int | None:
    """Open a descriptor that can be closed when a connection needs one and no other is free."""
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return None
