"""Keep SCAFFOLD's control variates of this device, and correct the gradients of its trainer with them.

SCAFFOLD (Karimireddy et al., "SCAFFOLD: stochastic controlled averaging for federated learning", 2020), option II: the
server sends its control variate c, and each local step goes along the gradient plus the correction c - c_i. After K
steps at the rate eta from x to y, this device's control variate becomes c_i - c + (x - y) / (K * eta), which is the
mean of its gradients. The server computes the same difference from the update, so it need not be sent.

The two stay in step only if they count the same updates. So a new control variate is kept under the number of its
round, beside the one before, and the next task says which of them the server has counted. A device that does not have
that one (it was started again, say) goes on from 0, as a client begins.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.agent.errors import BrokenResult
from tcsfeel.wire.codec import Parameters
from tcsfeel.wire.tasks import LEARNING_RATE, Task

TRAININGS = 4  # of one agent; each takes about twice the memory of the model in float32
KEPT_SECONDS = 7 * 86400.0  # after a training's last task

_NOTHING: Parameters = {}


class Correction(Mapping[str, npt.NDArray[Any]]):
    """The corrections by tensor. It notices whether the trainer has read one."""

    def __init__(self, tensors: Parameters) -> None:
        self._tensors = tensors
        self.read = not tensors

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        self.read = True
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


class Controls:
    """The control variates of one agent: by training, and by the round in which they were made.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, Mapping[int, Parameters]]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def correction(self, task: Task) -> Correction:
        """Return what the trainer has to add to its gradients, from the control variates that came with the task."""
        own = self._own(task)
        with np.errstate(over="ignore", invalid="ignore"):  # a result that is not finite is refused
            return Correction({name: control - own.get(name, 0) for name, control in task.correction.items()})

    def after(
        self, task: Task, correction: Correction, received: Parameters, sent: Parameters, steps: int | None
    ) -> Parameters:
        """Return this device's new control variates.

        Args:
            task: a fit task.
            correction: what its trainer had to add to the gradients.
            received: the parameters that training began with.
            sent: those that the server reads from the update.
            steps: how many steps the trainer reports.

        Raises:
            BrokenResult: the trainer does not support SCAFFOLD, or its update is too far from the model.
        """
        if not correction.read:
            raise BrokenResult(
                "the training uses SCAFFOLD, but fit did not read task.correction: let each step add"
                " task.correction[name] to the gradient of each tensor"
            )
        if steps is None:
            raise BrokenResult("the training uses SCAFFOLD: let fit return a FitResult with num_steps")
        length = steps * _learning_rate(task)
        made: dict[str, npt.NDArray[Any]] = {}
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for name, own in correction.items():
                moved = received[name].astype(np.float64) - sent[name].astype(np.float64)
                made[name] = (moved / length - own).astype(own.dtype)
                if not np.isfinite(made[name]).all():
                    raise BrokenResult(f"tensor {name!r} is not finite, or too far from the model for SCAFFOLD")
        return made

    def keep(self, task: Task, made: Parameters) -> None:
        """Keep what `after` returned, beside what the server has counted until now. Everything else is dropped."""
        _, before = self._kept.pop(task.training_id, (0.0, {}))
        counted = {number: one for number, one in before.items() if number == task.control_round}
        self._kept[task.training_id] = (self._clock() + KEPT_SECONDS, {**counted, task.round: made})
        if len(self._kept) > TRAININGS:
            del self._kept[next(iter(self._kept))]

    def expire(self) -> None:
        """Drop those that are too old."""
        now = self._clock()
        for training_id in [name for name, (until, _) in self._kept.items() if until <= now]:
            del self._kept[training_id]

    def _own(self, task: Task) -> Parameters:
        _, rounds = self._kept.get(task.training_id, (0.0, {}))
        own = rounds.get(task.control_round or 0, _NOTHING)
        fits = all(own[name].shape == one.shape for name, one in task.correction.items() if name in own)
        return own if fits else _NOTHING


def seen(trained: Parameters, lost_before: Parameters, lost: Parameters | None) -> Parameters:
    """Return the parameters that the server reads from an update, of which rounding has lost something."""
    if lost is None:
        return trained
    return {name: tensor + lost_before.get(name, 0) - lost.get(name, 0) for name, tensor in trained.items()}


def _learning_rate(task: Task) -> float:
    rate = task.hyperparameters.get("learning_rate", LEARNING_RATE)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
        raise BrokenResult(f"the training uses SCAFFOLD, which needs a learning_rate above 0, not {rate!r}")
    return float(rate)
