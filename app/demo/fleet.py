"""Run some of the agents of a demo in a process of their own, behind one port."""

import sys
from pathlib import Path

from app.demo.world import World
from tcsfeel.agent import serve_many


def main() -> None:
    """Serve one of SHARES equal shares of the clients: ``SERVER KEY_FILE SEED CLIENTS SHARE SHARES``, SHARE from 0."""
    _, server, key_file, *numbers = sys.argv
    seed, clients, share, shares = (int(number) for number in numbers)
    trainers = World.of(seed, clients).trainers(share, shares)
    serve_many(
        trainers,
        server_url=server,
        api_key=Path(key_file).read_text().strip(),
        threads=len(trainers),  # here a trainer mostly waits for its simulated device
    )
