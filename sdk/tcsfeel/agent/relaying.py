"""Hold what an agent needs to relay updates of other agents. `tcsfeel.agent.subtrees` relays them."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from tcsfeel.certificates import to_servers

SILENT_SECONDS = 60.0  # without a byte, after which a call has failed
CONNECT_SECONDS = 5.0


class Relaying:
    """What an agent needs to relay.

    Args:
        ca_file: the authorities with which the certificates of children are checked; None for those of the system.
        directory: where updates of children lie while they are needed; None for the system's temporary files.
        transport: makes the calls of children in place of the network, in tests.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        directory: Path | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ca_file = ca_file
        self._transport = transport
        self._trusted: ssl.SSLContext | None = None
        self.directory = directory
        self.clock = clock

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Open connections to children, for one task."""
        if self._trusted is None:  # it takes some 30 ms to make
            self._trusted = await asyncio.to_thread(to_servers, self._ca_file)
        async with httpx2.AsyncClient(
            transport=self._transport,
            verify=self._trusted,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
            headers={"User-Agent": "tcsfeel-relay"},
        ) as http:
            yield http
