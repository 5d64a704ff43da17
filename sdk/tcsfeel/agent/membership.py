"""Keep agents registered, and let those that pull ask for their tasks."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

from tcsfeel.agent.app import Agent
from tcsfeel.agent.connecting import connected
from tcsfeel.agent.labels import LabelReleases
from tcsfeel.agent.pulling import Puller
from tcsfeel.agent.registration import Member, Registration
from tcsfeel.rest.exchange import Patience
from tcsfeel.rest.transport import AsyncTransport


@asynccontextmanager
async def registered(
    members: Sequence[Member],
    server_url: str | None,
    api_key: str | None,
    *,
    heartbeat_seconds: float,
    labels: LabelReleases | None = None,
    ca_file: Path | None = None,
    agents: Mapping[str, Agent] = MappingProxyType({}),
) -> AsyncIterator[None]:
    """Keep the members registered while the block runs. They send heartbeats, or pull the tasks of their `agents`.

    Raises `RegistrationRefused`.
    """
    if server_url is None:
        yield
        return
    pulling = [member for member in members if member.url is None]
    async with connected(server_url, api_key, ca_file, waiting=len(pulling)) as http:
        registration = Registration(members, http, heartbeat_seconds=heartbeat_seconds, labels=labels)
        await registration.register()
        transport = AsyncTransport(http, Patience(attempts=1))  # a puller decides itself what it repeats
        loops = [asyncio.create_task(registration.run())]
        loops += [asyncio.create_task(_pulled(one, agents[one.client_id], transport, registration)) for one in pulling]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)


async def _pulled(member: Member, agent: Agent, transport: AsyncTransport, registration: Registration) -> None:
    await Puller(
        member.client_id,
        agent,
        transport,
        key=member.key,
        signing=agent.signing,
        renew=partial(registration.renew, member),
        instance=registration.instance,
    ).run()
