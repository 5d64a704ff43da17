"""Run the agents of a benchmark in a process of their own. They do not train, so the server is measured.

``SERVER KEY_FILE CLIENTS FLOATS SHARE SHARES`` serves every client whose number is SHARE modulo SHARES. A real fleet
has its own machines. Here all processes share the same cores, and `NICENESS` gives the control plane precedence.
"""

import os
import sys
from pathlib import Path

import numpy as np

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, serve_many

NICENESS = 5
SCHEDULING_GROUP = Path("/proc/self/autogroup")  # of a session, within which niceness counts
EXAMPLES = 100


def client_id(number: int) -> str:
    return f"client-{number:04}"


class Idler:
    """Adds the same noise each time to a model of `floats` float32."""

    def __init__(self, number: int, floats: int) -> None:
        rng = np.random.default_rng(number)
        self._floats = floats
        self._noise = rng.normal(0, 1e-3, floats).astype(np.float32)
        self._profile = Profile(
            data_size=EXAMPLES,
            data_distribution=list(map(float, rng.dirichlet(np.full(10, 0.5)))),
            compute_capacity=float(rng.uniform(1, 10)),
            bandwidth=float(rng.uniform(10, 100)),
            latency=float(rng.uniform(1, 50)),
        )

    def initial_parameters(self) -> Parameters:
        return {"weights": np.zeros(self._floats, np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        del task
        return FitResult({"weights": parameters["weights"] + self._noise}, EXAMPLES, 0.5, 0.5)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        del parameters, task
        return EvaluateResult(EXAMPLES, 0.5, 0.5)

    def profile(self) -> Profile:
        return self._profile


def relays() -> None:
    """Run agents that relay."""
    main(relay=True)


def main(*, relay: bool = False) -> None:
    _, server, key_file, *numbers = sys.argv
    clients, floats, share, shares = map(int, numbers)
    os.nice(NICENESS)
    if SCHEDULING_GROUP.exists():
        SCHEDULING_GROUP.write_text(str(NICENESS))
    trainers = {client_id(number): Idler(number, floats) for number in range(share, clients, shares)}
    serve_many(trainers, server_url=server, api_key=Path(key_file).read_text().strip(), relay=relay)


if __name__ == "__main__":
    main()
