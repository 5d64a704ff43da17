"""Error feedback: what rounding lost of a training's last update waits here for its next one.

See `tcsfeel.wire.differences`. A loss is kept only once its task is done, so that a task that failed or was cancelled
leaves no trace. It goes when the model's tensors are others, when `TRAININGS` newer ones are kept, and as long after
its task's deadline as the task itself does. Losing it costs accuracy, never correctness.
"""

from collections.abc import Callable

from tcsfeel.wire.codec import Parameters
from tcsfeel.wire.differences import wire_dtype
from tcsfeel.wire.tasks import Task

TRAININGS = 4  # of one agent; each holds about as much memory as the model in float32


class Feedback:
    """The losses of one agent, by training. `clock` gives seconds, as `expires_at` counts them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lost: dict[str, tuple[float, Parameters]] = {}

    def __len__(self) -> int:
        return len(self._lost)

    def of(self, task: Task, model: Parameters) -> Parameters:
        """What the last update of this training lost, nothing where there was none or the model was another."""
        self.expire()
        _, lost = self._lost.get(task.training_id, (0.0, {}))
        due = {name: tensor.shape for name, tensor in model.items() if wire_dtype(tensor.dtype, task.update_encoding)}
        return lost if {name: tensor.shape for name, tensor in lost.items()} == due else {}

    def keep(self, training_id: str, lost: Parameters, expires_at: float) -> None:
        """In place of what the training's update before has lost."""
        self._lost.pop(training_id, None)
        self._lost[training_id] = (expires_at, lost)
        if len(self._lost) > TRAININGS:
            del self._lost[next(iter(self._lost))]

    def expire(self) -> None:
        """Drop what is too old."""
        now = self._clock()
        self._lost = {name: (until, lost) for name, (until, lost) in self._lost.items() if until > now}
