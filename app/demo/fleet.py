"""The agents' side of a demo, in a process of its own: a share of the clients behind one port."""

import sys
from pathlib import Path

from app.demo.world import World
from tcsfeel.agent import serve_many


def main() -> None:
    """``SERVER KEY_FILE SEED CLIENTS SHARE SHARES``: serve the clients of share SHARE (from 0) out of SHARES."""
    _, server, key_file, *numbers = sys.argv
    seed, clients, share, shares = (int(number) for number in numbers)
    trainers = World.of(seed, clients).trainers(share, shares)
    serve_many(
        trainers,
        server_url=server,
        api_key=Path(key_file).read_text().strip(),
        threads=len(trainers),  # most of what a trainer does here is to wait for its device
    )
