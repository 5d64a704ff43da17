"""Compare Flower's weighted mean with memcpy: ``UPDATES FLOATS REPEATS`` prints the median seconds as JSON.

Flower's `FedAvg` calls ``aggregate_inplace``, which also decodes the updates. All of them are in memory.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import cast

import flwr.common
import numpy as np
from flwr.common import Code, FitRes, Status
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy.aggregate import aggregate, aggregate_inplace

EXAMPLES = 100


def main() -> None:
    updates, floats, repeats = map(int, sys.argv[1:])
    drawn = [np.random.default_rng(number).standard_normal(floats, np.float32) for number in range(updates)]
    nobody = cast("ClientProxy", None)
    encoded = [
        (nobody, FitRes(Status(Code.OK, ""), flwr.common.ndarrays_to_parameters([update]), EXAMPLES, {}))
        for update in drawn
    ]

    def copy() -> None:
        place = np.empty(floats, np.float32)
        for update in drawn:
            np.copyto(place, update)

    timed: dict[str, Callable[[], object]] = {
        "memcpy": copy,
        "aggregate": lambda: aggregate([([update], EXAMPLES) for update in drawn]),
        "aggregate_inplace": lambda: aggregate_inplace(encoded),
    }
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(repeats + 1):
        for name, run in timed.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    print(json.dumps({name: statistics.median(took[1:]) for name, took in seconds.items()}))


if __name__ == "__main__":
    main()
