"""Make connections to allowed addresses of agents, keep them for the next call, and report their errors (ADR 0011).

A request may need a `Proof`: then it is sent only over a connection over which the device with that key has signed an
answer. An address may belong to another machine than a moment ago, but a connection leads to the same one to its end.
If an agent closes its connections after each answer, the next connection follows at once and counts as proved.
"""

import asyncio
import errno
import re
import socket
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import aiohappyeyeballs
import httpx2

from app.certificates import for_agents
from app.services.access.tokens import LockedToken
from app.services.tasks.address_guard import AddressGuard, AddressRefused
from app.services.tasks.exchanges import Broken, Exchange, Wire
from app.services.tasks.names import NameNotResolved, Names
from app.services.tasks.patience import Patience, TooSlow
from app.settings import AgentSettings

PROBE_CONNECTIONS = 50  # beside those that tasks may hold, so that long polls never keep a health probe waiting
KEEP_ALIVE_SECONDS = 60.0  # less than the agents' own, or a call could meet a connection that is being closed

_NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305: after which a host's next address is tried beside the first
_UNSENT_BYTES = 1 << 17  # that the system holds: what it has taken in must be about what has gone out
_IN_FLIGHT_BYTES = 1 << 18  # of a body that may still be on its way when all of it was sent

# How a call breaks at the agent's end. Other errors of the operating system are ours: a disk that is full, say.
BROKEN = (httpx2.HTTPError, httpx2.InvalidURL, ConnectionError, TimeoutError)
_WORDS = (
    ((httpx2.ConnectError,), "the agent could not be reached"),
    ((TimeoutError, httpx2.TimeoutException), "the agent did not answer in time"),
    ((httpx2.InvalidURL, httpx2.UnsupportedProtocol, ValueError), "its URL cannot be called"),
    ((httpx2.RemoteProtocolError,), "the agent did not answer in HTTP"),
)

_SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
_HOST = re.compile(rb"[0-9A-Za-z._:%-]+")
_Place = tuple[bytes, bytes, int]  # scheme, host and port

Ask = Callable[[httpx2.Request], Awaitable[httpx2.Response]]
"""Makes one exchange with an agent."""
PROOF = "proof"
"""The extension of a request that has the `Proof` that it needs."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The proof that a connection leads to the device with a key.

    Attributes:
        key: the public key of the device.
        give: asks for the proof over that connection, and raises an error if there is none.
    """

    key: str
    give: Callable[[Ask], Awaitable[None]]


@dataclass(slots=True)
class _Line:
    """The connection that a call is made over."""

    place: _Place
    exchange: Exchange


def is_ours(error: BaseException) -> bool:
    """Tell whether a connection failed because this machine ran out of something, which is not the agent's fault."""
    return isinstance(error, OSError) and error.errno in _SHORT


def describe(error: BaseException) -> str:
    """Say what happened in a few words, without an URL's credentials."""
    if isinstance(error, Broken | TooSlow | LockedToken):
        return str(error)
    return next(
        (words for kinds, words in _WORDS if isinstance(error, kinds)),
        f"the connection was lost ({type(error).__name__})",
    )


class AgentTransport(httpx2.AsyncBaseTransport):
    """A transport for calls to agents only: request bodies have a ``Content-Length``, answers are not decoded.

    Raises `WrongSetting` for certificates that cannot be used.
    """

    def __init__(self, settings: AgentSettings, guard: AddressGuard) -> None:
        self._settings = settings
        self._guard = guard
        self._names = Names(settings.connect_seconds)
        self._tls = for_agents(settings)
        self._idle: defaultdict[_Place, list[tuple[Exchange, asyncio.TimerHandle]]] = defaultdict(list)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Make one exchange.

        Raises errors of `BROKEN`, ValueError for its URL, an OSError that `is_ours` if this machine has no descriptors
        or memory for a connection, and what the request's `Proof` raises.
        """
        place = _place(request.url)
        line = _Line(place, self._kept(place) or await self._connect(place))
        return await self._exchange(line, request, keeping=True, proof=request.extensions.get(PROOF))

    async def aclose(self) -> None:
        """Close the kept connections. Callers have to end the calls that are under way."""
        for exchange, timer in [kept for place in self._idle.values() for kept in place]:
            timer.cancel()
            exchange.close()
        self._idle.clear()
        await self._names.close()
        await asyncio.sleep(0)  # in which sockets are closed

    async def _exchange(
        self, line: _Line, request: httpx2.Request, *, keeping: bool, proof: Proof | None = None
    ) -> httpx2.Response:
        """Make one exchange, over a new connection if the agent had given up the one that was kept.

        `keeping` says that other calls may use the connection afterwards.
        """
        while True:
            was_used = line.exchange.used
            if proof is not None and proof.key not in line.exchange.proved:
                await self._prove(line, proof)
            exchange = line.exchange
            release = partial(self._release, exchange, line.place) if keeping else exchange.finish
            try:
                return await self._ask(exchange, request, release)
            except ConnectionError as error:
                if not was_used:
                    raise Broken("the agent closed the connection before it answered") from error
            line.exchange = await self._connect(line.place)

    async def _prove(self, line: _Line, proof: Proof) -> None:
        """Ask for a proof over a connection that no other call uses meanwhile."""

        async def ask(question: httpx2.Request) -> httpx2.Response:
            await self._renew(line)
            return await self._exchange(line, question, keeping=False)

        try:
            await proof.give(ask)
        except BaseException:
            line.exchange.close()
            raise
        await self._renew(line)
        line.exchange.proved.add(proof.key)

    async def _renew(self, line: _Line) -> None:
        """Make a new connection if the agent has closed this one after its answer."""
        if not line.exchange.is_usable:
            line.exchange.close()
            line.exchange = await self._connect(line.place)

    async def _ask(
        self, exchange: Exchange, request: httpx2.Request, release: Callable[[], Awaitable[object]]
    ) -> httpx2.Response:
        settings = self._settings
        rate = settings.min_bytes_per_second
        on_its_way = min(_IN_FLIGHT_BYTES, int(request.headers.get("Content-Length", 0))) / rate
        sending, answering = Patience(settings.read_seconds, rate), Patience(settings.read_seconds + on_its_way, rate)
        try:
            head = await exchange.ask(request, sending, answering)
        except BaseException:
            await exchange.abandon()
            raise
        body = _Body(exchange, Patience(settings.read_seconds, rate), release)
        return httpx2.Response(head.status_code, headers=head.headers.raw_items(), stream=body, request=request)

    def _kept(self, place: _Place) -> Exchange | None:
        """Take the connection that was used last. So those that a burst has opened become idle, and are closed."""
        kept = self._idle[place]
        while kept:
            exchange, timer = kept.pop()
            timer.cancel()
            if exchange.is_usable:
                return exchange
            exchange.close()
        del self._idle[place]
        return None

    async def _release(self, exchange: Exchange, place: _Place) -> None:
        """Take a connection back after its answer was read, or given up."""
        if await exchange.finish():
            timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_SECONDS, self._drop, place, exchange)
            self._idle[place].append((exchange, timer))

    def _drop(self, place: _Place, exchange: Exchange) -> None:
        self._idle[place] = [kept for kept in self._idle[place] if kept[0] is not exchange]
        if not self._idle[place]:
            del self._idle[place]
        exchange.close()

    async def _connect(self, place: _Place) -> Exchange:
        scheme, host, port = place
        loop = asyncio.get_running_loop()
        name = host.decode("ascii")
        try:
            infos = await self._guard.admit(await self._names.resolve(name, port), self._names.resolve)
            async with asyncio.timeout(self._settings.connect_seconds):
                connected = await aiohappyeyeballs.start_connection(
                    infos, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, loop=loop
                )
                _prepare(connected)
                tls, known_as = (self._tls, name.rstrip(".")) if scheme == b"https" else (None, None)
                _, wire = await loop.create_connection(Wire, sock=connected, ssl=tls, server_hostname=known_as)
        except (NameNotResolved, AddressRefused) as error:
            raise Broken(str(error)) from error
        except ssl.SSLError as error:
            said = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
            raise Broken(f"there is no TLS connection to the agent: {said}") from error
        except OSError as error:  # also one that says that it took too long
            if is_ours(error):
                raise
            raise httpx2.ConnectError(str(error)) from error
        return Exchange(wire)


class _Body(httpx2.AsyncByteStream):
    """The body of an answer, in the pieces in which it came; `release` takes its connection back."""

    def __init__(self, exchange: Exchange, patience: Patience, release: Callable[[], Awaitable[object]]) -> None:
        self._exchange = exchange
        self._patience = patience
        self._release = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._exchange.body(self._patience):
            yield piece

    async def aclose(self) -> None:
        await self._release()


def _place(url: httpx2.URL) -> _Place:
    if url.scheme not in {"http", "https"} or not _HOST.fullmatch(url.raw_host):
        raise ValueError("an agent has an http or https URL with a host")
    return url.raw_scheme, url.raw_host, url.port or (443 if url.scheme == "https" else 80)


def _prepare(connected: socket.socket) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
