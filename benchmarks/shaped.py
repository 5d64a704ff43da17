"""Run the agents of a benchmark behind links of a given speed, in a process of their own.

``SERVER KEY_FILE CLIENTS FLOATS BETWEEN``: bytes pass at the speed of the link over which they come: the client's own
link to the server, or, if a relay calls, a link between clients of BETWEEN megabytes a second.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.demo.links import Link
from app.demo.shaping import called_over_links, link_of
from benchmarks.fleet import Idler, client_id
from tcsfeel.agent import Profile
from tcsfeel.agent.running import run

SLOWEST, FASTEST = 0.5, 2.0
"""Megabytes a second of the clients' links to the server, which are spread evenly between these."""

MEGABIT = 8.0  # to the megabyte


def speed_of(number: int, clients: int) -> float:
    """Return the megabytes a second of the link between a client and the server."""
    return SLOWEST + (FASTEST - SLOWEST) * number / max(1, clients - 1)


class Linked(Idler):
    """A client that states the speed of its link to the server."""

    def __init__(self, number: int, floats: int, clients: int) -> None:
        super().__init__(number, floats)
        self._linked = replace(super().profile(), bandwidth=MEGABIT * speed_of(number, clients), latency=0.0)

    def profile(self) -> Profile:
        return self._linked


def always(link: Link) -> Callable[[str], Link]:
    """Return what finds this link, whichever relay calls."""
    return lambda _relay: link


async def fleet(server: str, key: str, clients: int, floats: int, between: float) -> None:
    """Serve the agents until cancelled."""
    trainers = {client_id(number): Linked(number, floats, clients) for number in range(clients)}
    links = {
        client_id(number): link_of(Link(speed_of(number, clients)), always(Link(between))) for number in range(clients)
    }
    async with called_over_links(trainers, links, server=server, api_key=key, threads=1):
        await asyncio.Event().wait()


def main() -> None:
    _, server, key_file, clients, floats, between = sys.argv
    key = Path(key_file).read_text().strip()
    run(fleet(server, key, int(clients), int(floats), float(between)))
