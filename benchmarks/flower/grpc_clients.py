"""Run clients of Flower's gRPC server, each in a thread, which do the same as the trainers of `benchmarks.fleet`.

``ADDRESS CLIENTS FLOATS SHARE SHARES NICENESS`` runs the clients whose number is SHARE modulo SHARES. The end of stdin
ends the process.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.client import NumPyClient, start_client

SCHEDULING_GROUP = Path("/proc/self/autogroup")
EXAMPLES = 100


class Idler(NumPyClient):
    """Adds the same noise each time."""

    def __init__(self, number: int, floats: int) -> None:
        self._noise = np.random.default_rng(number).normal(0, 1e-3, floats).astype(np.float32)

    def fit(self, parameters: list[npt.NDArray[np.float32]], config: Any) -> tuple[list[Any], int, dict[str, Any]]:
        del config
        return [parameters[0] + self._noise], EXAMPLES, {"loss": 0.5, "accuracy": 0.5}


def main() -> None:
    _, address, *numbers = sys.argv
    clients, floats, share, shares, niceness = map(int, numbers)
    os.nice(niceness)
    if SCHEDULING_GROUP.exists():
        SCHEDULING_GROUP.write_text(str(niceness))
    for number in range(share, clients, shares):
        client = Idler(number, floats).to_client()
        told = {"server_address": address, "client": client, "insecure": True}
        threading.Thread(target=start_client, kwargs=told, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
