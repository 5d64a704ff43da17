"""Average as Flower does, and write the seconds of each round into a file."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


class Timed(FedAvg):
    """Takes the time from the call of ``configure_train`` to the end of ``aggregate_train``."""

    results = Path()
    _started = 0.0

    def configure_train(self, *args: Any, **kwargs: Any) -> Any:
        self._started = time.perf_counter()
        return super().configure_train(*args, **kwargs)

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        came = list(replies)
        aggregated = super().aggregate_train(server_round, came)
        failures = sum(reply.has_error() for reply in came)
        outcome = {
            "seconds": time.perf_counter() - self._started,
            "updates": len(came) - failures,
            "failures": failures,
        }
        with self.results.open("a") as file:
            file.write(json.dumps(outcome) + "\n")
        return aggregated


@app.main()
def main(grid: Grid, context: Context) -> None:
    clients, floats, rounds = (int(context.run_config[name]) for name in ("clients", "floats", "rounds"))
    strategy = Timed(fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    strategy.results = Path(str(context.run_config["results"]))
    strategy.start(grid, ArrayRecord([np.zeros(floats, np.float32)]), num_rounds=rounds)
