"""Train on a simulated device: the trainer really learns from its digits, takes as long as the device, and may fail.

Whether a try fails depends only on the seed, the client, the round and the number of the try. Most failures are errors
after a part of the time. Some devices just do not answer any more, like a device that has lost its radio connection.
"""

import time
from collections.abc import Callable

import numpy as np

from app.demo import mlp
from app.demo.digits import CLASSES, Shard
from app.demo.network import Device
from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hyperparameter, task_cancelled

QUIET = 0.25  # share of the failures in which a device does not answer any more
STEP = 0.1  # seconds after which the trainer asks again whether the task is still wanted

Pause = Callable[[float], None]


class DeviceFailed(Exception):
    """The simulated device failed."""


class DeviceTrainer:
    """Implements `tcsfeel.agent.Trainer`.

    Args:
        shard: the digits that it learns from and that it measures with.
        device: the simulated device, with its speed and reliability.
        seed: the seed of the whole demo.
        position: the position of the client among all clients.
        shaped: whether models travel over a link of the device's speed, so that the trainer takes no time for that.
        pause: waits for this many seconds, or for less if the task is no longer wanted.
    """

    def __init__(
        self,
        shard: Shard,
        device: Device,
        *,
        seed: int,
        position: int,
        shaped: bool = False,
        pause: Pause | None = None,
    ) -> None:
        self._shard = shard
        self._device = device
        self._timed = device.without_link() if shaped else device
        self._seed = seed
        self._position = position
        self._pause = pause or wait
        self._tries = (0, 0)  # the last round, and the number of its tries

    def initial_parameters(self) -> Parameters:
        """Return the initial parameters, which are the same for every client."""
        return mlp.initial(np.random.default_rng([self._seed, 2]))

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        """Train on the client's digits. Sometimes raises `DeviceFailed`."""
        began = time.monotonic()
        inputs, labels = self._shard.train_inputs, self._shard.train_labels
        epochs, batch = hyperparameter(task, "local_epochs", 1), hyperparameter(task, "batch_size", 32)
        seconds = self._timed.fit_seconds(mlp.size(parameters), len(labels), epochs)
        self._fail_now_and_then(task, seconds)
        local = mlp.train(
            parameters,
            inputs,
            labels,
            epochs=epochs,
            rate=hyperparameter(task, "learning_rate", 0.1),
            batch=batch,
            rng=np.random.default_rng([self._seed, 3, self._position, task.round]),
            correction=task.correction,
        )
        steps = epochs * -(-len(labels) // batch)
        result = FitResult(local, len(labels), *mlp.measure(local, inputs, labels), num_steps=steps)
        self._pause(seconds - (time.monotonic() - began))
        return result

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        """Measure with the held-out digits. It never fails, so that all held-out digits count in every round."""
        del task
        began = time.monotonic()
        inputs, labels = self._shard.test_inputs, self._shard.test_labels
        result = EvaluateResult(len(labels), *mlp.measure(parameters, inputs, labels))
        seconds = self._timed.evaluate_seconds(mlp.size(parameters), len(labels))
        self._pause(seconds - (time.monotonic() - began))
        return result

    def profile(self) -> Profile:
        """Return the exact values of the simulated device."""
        labels = self._shard.train_labels
        return Profile(
            data_size=len(labels),
            data_distribution=np.bincount(labels, minlength=CLASSES),
            compute_capacity=self._device.compute,
            bandwidth=self._device.bandwidth,
            latency=self._device.latency,
            reliability=self._device.reliability,
            tags={"site": f"site-{self._device.site + 1}"},
            elastic=True,
        )

    def _fail_now_and_then(self, task: Task, seconds: float) -> None:
        last, tries = self._tries
        tries = tries + 1 if task.round == last else 1
        self._tries = (task.round, tries)
        luck, when, how = np.random.default_rng([self._seed, 4, self._position, task.round, tries]).random(3)
        if luck < self._device.reliability:
            return
        if how < QUIET:
            self._pause(task.deadline_seconds)
            raise DeviceFailed("the device came back, too late")
        self._pause(seconds * when)
        raise DeviceFailed("the device switched itself off to save its battery")


def wait(seconds: float) -> None:
    """Sleep, or return earlier if the running task is no longer wanted."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and not task_cancelled():
        time.sleep(min(left, STEP))
