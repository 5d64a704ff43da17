"""Run some of the agents of a demo in a process of their own, behind one port."""

import sys
from pathlib import Path

from app.demo.world import World
from tcsfeel.agent import serve_many


def main() -> None:
    """Run one of SHARES equal shares of the clients: ``SERVER FILE TRANSPORT SEED CLIENTS SHARE SHARES``.

    SHARE counts from 0. With the TRANSPORT ``push`` the FILE has an API key. With ``pull`` it has the secret of an
    invitation, because each agent that pulls needs a key of its own.
    """
    _, server, file, transport, *numbers = sys.argv
    seed, clients, share, shares = (int(number) for number in numbers)
    trainers = World.of(seed, clients).trainers(share, shares)
    secret, pulls = Path(file).read_text().strip(), transport == "pull"
    serve_many(
        trainers,
        server_url=server,
        api_key=None if pulls else secret,
        invite=secret if pulls else None,
        state=Path(file).parent / "agents" if pulls else None,
        pull=pulls,
        relay=not pulls,
        threads=len(trainers),  # here a trainer mostly waits for its simulated device
    )
