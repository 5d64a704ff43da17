"""Run some of the agents of a demo in a process of their own."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from app.demo.links import Link
from app.demo.shaping import called_over_links, link_of, pull_over_links
from app.demo.world import World
from tcsfeel.agent import Trainer, serve_many
from tcsfeel.agent.running import run

MEGABIT = 8.0  # to the megabyte


def main() -> None:
    """Run one of SHARES equal shares of the clients: ``SERVER FILE TRANSPORT LINKS SLOWER SEED CLIENTS SHARE SHARES``.

    SHARE counts from 0. With the TRANSPORT ``push`` the FILE has an API key. With ``pull`` it has the secret of an
    invitation, because each agent that pulls needs a key of its own. The LINKS are ``modelled`` or ``shaped``, and
    SLOWER than usual by a factor.
    """
    _, server, file, transport, links, slower, *numbers = sys.argv
    seed, clients, share, shares = (int(number) for number in numbers)
    world, shaped = World.of(seed, clients, slower=float(slower)), links == "shaped"
    trainers = world.trainers(share, shares, shaped=shaped)
    secret, pulls = Path(file).read_text().strip(), transport == "pull"
    state = Path(file).parent / "agents"
    if shaped and pulls:
        to_server = {client_id: _to_server(world, client_id) for client_id in trainers}
        run(pull_over_links(trainers, to_server, server=server, invite=secret, state=state))
    elif shaped:
        run(_called(world, trainers, server, secret))
    else:
        serve_many(
            trainers,
            server_url=server,
            api_key=None if pulls else secret,
            invite=secret if pulls else None,
            state=state if pulls else None,
            pull=pulls,
            relay=not pulls,
            threads=len(trainers),  # here a trainer mostly waits for its simulated device
        )


async def _called(world: World, trainers: Mapping[str, Trainer], server: str, api_key: str) -> None:
    links = {client_id: link_of(_to_server(world, client_id), _to_relays(world, client_id)) for client_id in trainers}
    async with called_over_links(trainers, links, server=server, api_key=api_key, threads=len(trainers)):
        await asyncio.Event().wait()


def _to_server(world: World, client_id: str) -> Link:
    device = world.network.devices[world.client_ids.index(client_id)]
    return Link(device.bandwidth / MEGABIT, device.latency / 1000)


def _to_relays(world: World, client_id: str) -> Callable[[str], Link]:
    """Return what finds the client's link to the relay with an id. Those links have no latency in the matrix."""
    own = world.client_ids.index(client_id)

    @cache
    def link(relay: str) -> Link:
        return Link(world.network.speed_between(world.client_ids.index(relay), own))

    return link
