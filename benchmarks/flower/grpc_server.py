"""Run Flower's gRPC server, with a round for every line on stdin and a line on stdout for every round.

The arguments are ``ADDRESS CLIENTS FLOATS``. A line on stdout is JSON: the seconds of the round, from the call of
``configure_fit`` to the end of ``aggregate_fit``, and how many clients sent an update or failed. The end of stdin ends
the process.
"""

import json
import os
import sys
import time
from typing import Any

import flwr.common
import numpy as np
from flwr.server import ServerConfig, start_server
from flwr.server.strategy import FedAvg

ENOUGH = 1_000_000  # rounds, more than are ever run


class Timed(FedAvg):
    """Averages as Flower does, and takes the time."""

    _started = 0.0

    def configure_fit(self, *args: Any, **kwargs: Any) -> Any:
        if not sys.stdin.readline():
            os._exit(0)
        self._started = time.perf_counter()
        return super().configure_fit(*args, **kwargs)

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        aggregated = super().aggregate_fit(server_round, results, failures)
        seconds = time.perf_counter() - self._started
        print(json.dumps({"seconds": seconds, "updates": len(results), "failures": len(failures)}), flush=True)
        return aggregated


def main() -> None:
    _, address, *numbers = sys.argv
    clients, floats = map(int, numbers)
    strategy = Timed(
        fraction_fit=1.0,
        fraction_evaluate=0.0,
        min_fit_clients=clients,
        min_available_clients=clients,
        initial_parameters=flwr.common.ndarrays_to_parameters([np.zeros(floats, np.float32)]),
    )
    start_server(server_address=address, config=ServerConfig(num_rounds=ENOUGH), strategy=strategy)


if __name__ == "__main__":
    main()
