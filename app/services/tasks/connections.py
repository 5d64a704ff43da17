"""Make connections to allowed addresses of agents, keep them for the next call, and report their errors (ADR 0011).

A request may need a `Proof`: then it is sent only over a connection over which the device with that key has signed an
answer. An address may belong to another machine than a moment ago, but a connection leads to the same one to its end.
If an agent closes its connections after each answer, the next connection follows at once and counts as proved.

A connection is used again only for calls to the same URL. An agent may send an answer that nobody has asked for, which
would be taken for the answer to the next call over its connection: it must not be that of another agent which listens
on the same port.
"""

import asyncio
import socket
import ssl
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import aiohappyeyeballs

from app.certificates import for_agents
from app.services.tasks.address_guard import AddressGuard, AddressRefused
from app.services.tasks.blocks import Blocks
from app.services.tasks.breaks import CLOSED, UNREACHABLE, Broken, is_ours
from app.services.tasks.exchanges import Exchange
from app.services.tasks.names import NameNotResolved, Names
from app.services.tasks.patience import Patience
from app.services.tasks.requests import Address, Request, address_of
from app.services.tasks.responses import Proof, Response
from app.services.tasks.wires import Wire
from app.settings import AgentSettings

PROBE_CONNECTIONS = 50  # beside those that tasks may hold, so that long polls never keep a health probe waiting
KEEP_ALIVE_SECONDS = 60.0  # less than the agents' own, or a call could meet a connection that is being closed

_CLOSED_TOGETHER = 20  # idle connections: some 1 ms
_NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305: after which a host's next address is tried beside the first
_UNSENT_BYTES = 1 << 17  # that the system holds: what it has taken in must be about what has gone out
_IN_FLIGHT_BYTES = 1 << 18  # of a body that may still be on its way when all of it was sent


@dataclass(slots=True)
class _Line:
    """The connection that a call is made over."""

    address: Address
    exchange: Exchange


class AgentTransport:
    """The `Transport` over the network. Request bodies have a ``Content-Length``, and answers are not decompressed.

    Raises `WrongSetting` for certificates that cannot be used.
    """

    def __init__(self, settings: AgentSettings, guard: AddressGuard) -> None:
        self._settings = settings
        self._guard = guard
        self._names = Names(settings.connect_seconds)
        self._tls = for_agents(settings)
        self._blocks = Blocks()
        self._most_idle = settings.concurrency + PROBE_CONNECTIONS
        self._idle: defaultdict[Address, list[Exchange]] = defaultdict(list)
        self._since: dict[Exchange, tuple[Address, float]] = {}  # since when each is idle, from the longest time on
        self._look: asyncio.Handle | None = None  # the next one for connections that have been idle too long

    async def exchange(self, request: Request, proof: Proof | None = None) -> Response:
        """Make one exchange; see `Transport`."""
        address = address_of(request.url)
        line = _Line(address, self._kept(address) or await self._connect(address))
        return await self._exchange(line, request, keeping=True, proof=proof)

    async def close(self) -> None:
        """Close the kept connections. Callers have to end the calls that are under way."""
        for exchange in self._since:
            exchange.close()
        self._idle.clear()
        self._since.clear()
        if self._look is not None:
            self._look.cancel()
        await self._names.close()
        await asyncio.sleep(0)  # in which sockets are closed

    async def _exchange(self, line: _Line, request: Request, *, keeping: bool, proof: Proof | None = None) -> Response:
        """Make one exchange, over a new connection if the agent had given up the one that was kept.

        A long request is not sent again here, since a part of it may have arrived.

        `keeping` says that other calls may use the connection afterwards.
        """
        while True:
            was_used = line.exchange.used
            if proof is not None and proof.key != line.exchange.proved:
                await self._prove(line, proof)
            exchange = line.exchange
            release = partial(self._release, exchange, line.address) if keeping else exchange.finish
            try:
                return await self._ask(exchange, request, release)
            except ConnectionError as error:
                if not was_used or request.is_long:
                    raise Broken(CLOSED) from error
            line.exchange = await self._connect(line.address)

    async def _prove(self, line: _Line, proof: Proof) -> None:
        """Ask for a proof over a connection that no other call uses meanwhile."""

        async def ask(question: Request) -> Response:
            await self._renew(line)
            return await self._exchange(line, question, keeping=False)

        try:
            await proof.give(ask)
        except BaseException:
            line.exchange.close()
            raise
        await self._renew(line)
        line.exchange.proved = proof.key

    async def _renew(self, line: _Line) -> None:
        """Make a new connection if the agent has closed this one after its answer."""
        if not line.exchange.is_usable:
            line.exchange.close()
            line.exchange = await self._connect(line.address)

    async def _ask(self, exchange: Exchange, request: Request, release: Callable[[], object]) -> Response:
        settings = self._settings
        rate = settings.min_bytes_per_second
        on_its_way = min(_IN_FLIGHT_BYTES, int(request.headers.get("Content-Length", 0))) / rate
        sending, answering = Patience(settings.read_seconds, rate), Patience(settings.read_seconds + on_its_way, rate)
        try:
            head = await exchange.ask(request, sending, answering)
        except BaseException:
            exchange.close()
            raise
        body = exchange.body(head, Patience(settings.read_seconds, rate), self._blocks)

        async def close() -> None:
            release()

        return Response(head.status, head.headers, body, close, head.length)

    def _kept(self, address: Address) -> Exchange | None:
        """Take the connection that was used last. So those that a burst has opened become idle, and are closed."""
        kept = self._idle[address]
        while kept:
            exchange = kept.pop()
            del self._since[exchange]
            if exchange.is_usable:
                return exchange
            exchange.close()
        del self._idle[address]
        return None

    def _release(self, exchange: Exchange, address: Address) -> None:
        """Take a connection back after its answer was read, or given up."""
        if exchange.finish():
            loop = asyncio.get_running_loop()
            self._idle[address].append(exchange)
            self._since[exchange] = address, loop.time()
            if len(self._since) > self._most_idle:
                self._drop(next(iter(self._since)))
            if self._look is None:
                self._look = loop.call_later(KEEP_ALIVE_SECONDS, self._close_old)

    def _drop(self, exchange: Exchange) -> None:
        """Close a connection that is idle."""
        address, _ = self._since.pop(exchange)
        self._idle[address].remove(exchange)
        if not self._idle[address]:
            del self._idle[address]
        exchange.close()

    def _close_old(self) -> None:
        """Close a few connections that have been idle too long, and look again when others may have been."""
        loop = asyncio.get_running_loop()
        self._look = None
        for exchange, (_, since) in list(islice(self._since.items(), _CLOSED_TOGETHER)):
            if (left := since + KEEP_ALIVE_SECONDS - loop.time()) > 0:
                self._look = loop.call_later(left, self._close_old)
                return
            self._drop(exchange)
        if self._since:
            self._look = loop.call_soon(self._close_old)  # in the next pass of the loop

    async def _connect(self, address: Address) -> Exchange:
        scheme, host, port = address.scheme, address.host, address.port
        loop = asyncio.get_running_loop()
        try:
            infos = await self._guard.admit(await self._names.resolve(host, port), self._names.resolve)
            async with asyncio.timeout(self._settings.connect_seconds):
                connected = await aiohappyeyeballs.start_connection(
                    infos, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, loop=loop
                )
                _prepare(connected)
                tls, known_as = (self._tls, host.rstrip(".")) if scheme == "https" else (None, None)
                _, wire = await loop.create_connection(Wire, sock=connected, ssl=tls, server_hostname=known_as)
        except (NameNotResolved, AddressRefused) as error:
            raise Broken(str(error)) from error
        except ssl.SSLError as error:
            said = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
            raise Broken(f"there is no TLS connection to the agent: {said}") from error
        except OSError as error:  # also one that says that it took too long
            if is_ours(error):
                raise
            raise Broken(UNREACHABLE) from error
        return Exchange(wire)


def _prepare(connected: socket.socket) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
