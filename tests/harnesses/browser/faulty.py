"""Serve the devices of a site that return NaN after an update of their software, which the dashboard has to show."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.demo.device import DeviceTrainer
from app.demo.world import World
from tcsfeel.agent import FitResult, Parameters, Profile, Task, serve_many

SITE = "harbour"
SEED = 2
DEVICES = 12
UPDATED_IN_ROUND = 4


class Updated(DeviceTrainer):
    """Trains like other devices until its update, and returns NaN from then on."""

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        result = super().fit(parameters, task)
        if task.round < UPDATED_IN_ROUND:
            return result
        wrong = {name: np.full_like(values, np.nan) for name, values in result.parameters.items()}
        return replace(result, parameters=wrong)

    def profile(self) -> Profile:
        return replace(super().profile(), tags={"site": SITE}, reliability=1.0)


def main() -> None:
    """Serve them until SIGTERM: ``SERVER KEY_FILE``."""
    _, server, key_file = sys.argv
    world = World.of(SEED, DEVICES)
    trainers = {
        f"{SITE}-{position + 1}": Updated(
            world.shards[position], world.network.devices[position], seed=SEED, position=position
        )
        for position in range(DEVICES)
    }
    serve_many(trainers, server_url=server, api_key=Path(key_file).read_text().strip(), threads=DEVICES)
