"""Serve agents behind links: each has a proxy of its own, over which its control plane and its relays reach it.

Agents that pull call their control plane through the proxy. Heartbeats and the registration of the others go past it.
"""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2

from app.demo.links import HOST, Link, LinkOf, proxied
from tcsfeel.agent import AgentHost, Trainer, hosting
from tcsfeel.agent.listening import listening
from tcsfeel.agent.membership import registered
from tcsfeel.agent.registration import Member
from tcsfeel.agent.relaying import Relaying

HEARTBEAT_SECONDS = 30.0
RELAY = "X-Relay"  # the header with which a relay names itself


class NamedRelay(httpx2.AsyncBaseTransport):
    """Makes the calls of one relay, and names it in them. It stays open when a client of it closes.

    Relays do not share connections, because a proxy looks only at the first request of each.
    """

    def __init__(self, client_id: str, network: httpx2.AsyncBaseTransport | None = None) -> None:
        self._client_id = client_id
        no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loads no authorities, since nothing here is HTTPS
        self._network = network or httpx2.AsyncHTTPTransport(verify=no_tls, trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers[RELAY] = self._client_id
        return await self._network.handle_async_request(request)


def link_of(to_server: Link, to_relay: Callable[[str], Link]) -> LinkOf:
    """Choose by the caller: the link to the server, or the one to the relay with the id that a request names."""

    def choose(head: bytes) -> Link:
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == RELAY.lower().encode():
                return to_relay(value.strip().decode("ascii", "replace"))
        return to_server

    return choose


@asynccontextmanager
async def called_over_links(
    trainers: Mapping[str, Trainer], links: Mapping[str, LinkOf], *, server: str, api_key: str, threads: int
) -> AsyncIterator[None]:
    """Serve agents that a control plane calls, and that relay, while the block runs. `links` is by client id."""
    host = AgentHost(threads=threads)
    async with listening(host, HOST, 0) as url, AsyncExitStack() as stack:
        stack.callback(host.close)
        members = []
        for client_id, trainer in trainers.items():
            token, relaying = secrets.token_urlsafe(16), Relaying(transport=NamedRelay(client_id))
            host.add(client_id, trainer, token=token, relaying=relaying)
            port = await stack.enter_async_context(proxied(_address(url), links[client_id]))
            own = f"http://{HOST}:{port}{host.path(client_id)}"
            members.append(Member(client_id, own, token, trainer, relay=True))
        await stack.enter_async_context(registered(members, server, api_key, heartbeat_seconds=HEARTBEAT_SECONDS))
        yield


async def pull_over_links(
    trainers: Mapping[str, Trainer], links: Mapping[str, Link], *, server: str, invite: str, state: Path
) -> None:
    """Run agents that enrol and pull, until cancelled."""

    async def pull(client_id: str, trainer: Trainer) -> None:
        link = links[client_id]
        async with (
            proxied(_address(server), lambda _head: link) as port,
            hosting(
                {client_id: trainer},
                server_url=f"http://{HOST}:{port}",
                invite=invite,
                state=state,
                pull=True,
                threads=1,
            ),
        ):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as agents:
        for client_id, trainer in trainers.items():
            agents.create_task(pull(client_id, trainer))


def _address(url: str) -> tuple[str, int]:
    found = httpx2.URL(url)
    return found.host, found.port or 80
