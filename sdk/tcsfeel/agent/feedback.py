"""Error feedback: keep what rounding lost of a training's last update, and add it to the next one.

See `tcsfeel.wire.differences`. A loss is kept only when its task is done, so a task that failed or was cancelled leaves
nothing. It is dropped when the model has other tensors, when `TRAININGS` newer losses are kept, or when the task itself
would be dropped after its deadline. Dropping it costs accuracy, never correctness.
"""

from collections.abc import Callable

from tcsfeel.wire.codec import Parameters
from tcsfeel.wire.differences import wire_dtype
from tcsfeel.wire.tasks import Task

TRAININGS = 4  # of one agent; each takes about as much memory as the model in float32


class Feedback:
    """The losses of one agent, by training. `clock` returns seconds on the same scale as `expires_at`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lost: dict[str, tuple[float, Parameters]] = {}

    def __len__(self) -> int:
        return len(self._lost)

    def of(self, task: Task, model: Parameters) -> Parameters:
        """Return what the last update of this training lost.

        It is empty if there was none, or if the model has changed.
        """
        self.expire()
        _, lost = self._lost.get(task.training_id, (0.0, {}))
        due = {name: tensor.shape for name, tensor in model.items() if wire_dtype(tensor.dtype, task.update_encoding)}
        return lost if {name: tensor.shape for name, tensor in lost.items()} == due else {}

    def keep(self, training_id: str, lost: Parameters, expires_at: float) -> None:
        """Replace what the training's previous update has lost."""
        self._lost.pop(training_id, None)
        self._lost[training_id] = (expires_at, lost)
        if len(self._lost) > TRAININGS:
            del self._lost[next(iter(self._lost))]

    def expire(self) -> None:
        """Drop the losses that are too old."""
        now = self._clock()
        self._lost = {name: (until, lost) for name, (until, lost) in self._lost.items() if until > now}
