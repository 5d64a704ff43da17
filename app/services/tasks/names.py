"""Looking up agents' host names, in threads of their own, so that a name that hangs fails no client but its own.

The system's resolver blocks, for half a minute and longer where a name's servers do not answer, and cannot be stopped.
So each lookup has a thread that ends with the process at the latest, there are `LOOKUPS` of them at most, and hosts
whose last lookup hung share `HANGING_LOOKUPS` of these. A caller that asks for a host that is being looked up waits for
that lookup, at most `seconds` long. While a host cannot be looked up, its last known addresses are used.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LOOKUPS = 32
HANGING_LOOKUPS = 8
KNOWN_SECONDS = 10.0  # for which the addresses of a host are used again
FAILED_SECONDS = 5.0  # for which a host that has none, or whose lookup hung, is not looked up again
MOST_HOSTS = 10_000  # that are remembered

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]  # as `socket.getaddrinfo` gives them

_NUMBER = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)")


class NameNotResolved(OSError):
    """A host name has no address, or none was found in time."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The result of the last lookup of a host, and how long (by `Names`' clock) it is valid."""

    infos: tuple[AddressInfo, ...] = ()
    until: float = 0.0
    reason: str | None = None


class Names:
    """The addresses of hosts. `seconds` bounds each wait for them."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._known: dict[str, _Known] = {}
        self._under_way: dict[str, asyncio.Task[tuple[AddressInfo, ...]]] = {}
        self._hung: set[str] = set()
        self._places = asyncio.Semaphore(LOOKUPS)
        self._places_of_hung = asyncio.Semaphore(HANGING_LOOKUPS)

    async def resolve(self, host: str, port: int) -> list[AddressInfo]:
        """Return the addresses of `host`. Raises `NameNotResolved`, or ValueError if it cannot be a host."""
        infos = _literal(host) or await self._look_up(host)
        return [(family, kind, proto, "", (at[0], port, *at[2:])) for family, kind, proto, _, at in infos]

    async def close(self) -> None:
        """Give up every lookup."""
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _look_up(self, host: str) -> tuple[AddressInfo, ...]:
        now = self._now()
        known = self._known.get(host, _Known())
        if known.until > now:
            return self._answer(known)
        task = self._under_way.get(host)
        if task is None:
            task = self._under_way[host] = asyncio.create_task(self._ask(host))
            task.add_done_callback(lambda done: self._finished(host, done))
        try:
            async with asyncio.timeout(self._seconds):
                infos = await asyncio.shield(task)
        except TimeoutError:
            self._hung.add(host)
            self._remember(host, _Known(known.infos, now + self._seconds + FAILED_SECONDS, self._too_slow()))
        except socket.gaierror as error:
            gone = error.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
            reason = "its host name cannot be resolved"
            self._remember(host, _Known(() if gone else known.infos, now + FAILED_SECONDS, reason))
        else:
            self._hung.discard(host)
            return infos
        return self._answer(self._known[host])

    def _answer(self, known: _Known) -> tuple[AddressInfo, ...]:
        if not known.infos:
            raise NameNotResolved(known.reason)
        return known.infos

    def _too_slow(self) -> str:
        return f"its host name cannot be resolved in {self._seconds:g} s"

    def _remember(self, host: str, known: _Known) -> None:
        self._known.pop(host, None)
        self._known[host] = known
        if len(self._known) > MOST_HOSTS:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._hung.discard(oldest)

    async def _ask(self, host: str) -> tuple[AddressInfo, ...]:
        """Make one lookup, which may take any time."""
        async with self._places_of_hung if host in self._hung else contextlib.nullcontext(), self._places:
            loop = asyncio.get_running_loop()
            found: asyncio.Future[tuple[AddressInfo, ...]] = loop.create_future()
            threading.Thread(target=_block, args=(host, loop, found), name="name lookup", daemon=True).start()
            return await found

    def _finished(self, host: str, task: asyncio.Task[tuple[AddressInfo, ...]]) -> None:
        del self._under_way[host]
        if not task.cancelled() and task.exception() is None:
            self._remember(host, _Known(task.result(), self._now() + KNOWN_SECONDS))


def _literal(host: str) -> tuple[AddressInfo, ...] | None:
    """A host that is an address. The system would take 127.1 and 0x7f000001 for addresses too; they are refused."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            raise ValueError(f"{host!r} is neither a name nor an address") from None
        return None
    if "%" in host:  # an interface, whose number the system knows
        return None
    if address.version == 4:  # noqa: PLR2004  (of the Internet protocol)
        return ((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 0)),)
    return ((socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 0, 0, 0)),)


def _block(host: str, loop: asyncio.AbstractEventLoop, found: asyncio.Future[tuple[AddressInfo, ...]]) -> None:
    """Ask the system, in a thread."""
    outcome: tuple[AddressInfo, ...] | Exception
    try:
        outcome = tuple(
            (info[0], info[1], info[2], "", tuple(info[4]))
            for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        )
    except Exception as error:  # noqa: BLE001  (it belongs to the caller)
        outcome = error
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(_deliver, found, outcome)


def _deliver(found: asyncio.Future[tuple[AddressInfo, ...]], outcome: tuple[AddressInfo, ...] | Exception) -> None:
    if found.done():
        return
    if isinstance(outcome, Exception):
        found.set_exception(outcome)
    else:
        found.set_result(outcome)
