"""Keep the frozen tensors of trainings, which never change, so that each of them has to be sent only once.

They are kept in memory under the id that the control plane gives to them. An agent that has lost them gets them again.
"""

import logging
import threading

import numpy as np

from tcsfeel.text import plain
from tcsfeel.wire.codec import Packed, Parameters, pack
from tcsfeel.wire.groups import matching
from tcsfeel.wire.tasks import Task

_log = logging.getLogger(__name__)

KEPT = 4  # sets of frozen tensors


class NoFrozenTensors(Exception):
    """A task came without its frozen tensors, and they are not here."""


class FrozenTensors:
    """The frozen tensors of all agents of a process, by their id. Threads may share it."""

    def __init__(self) -> None:
        self._kept: dict[str, Packed] = {}
        self._lock = threading.Lock()

    def __contains__(self, frozen_id: str) -> bool:
        return frozen_id in self._kept

    def split(self, task: Task, parameters: Parameters) -> tuple[Parameters, Parameters]:
        """Return the tensors of a task that its update has to hold, and its frozen ones.

        Frozen tensors that came with the task are kept. Raises `NoFrozenTensors`.
        """
        if not task.frozen_id:
            return parameters, {}
        came = matching(parameters, task.frozen_tensors)
        kept = pack({name: parameters[name] for name in came}) if came else None
        with self._lock:
            kept = kept or self._kept.get(task.frozen_id)
            if kept is None:
                raise NoFrozenTensors
            self._kept.pop(task.frozen_id, None)
            self._kept[task.frozen_id] = kept
            if len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return {name: tensor for name, tensor in parameters.items() if name not in came}, kept.parameters()


class FrozenCheck:
    """Warns at the first fit of a training if its trainer changed frozen tensors, whose changes are not used."""

    def __init__(self) -> None:
        self._training_id = ""

    def after_fit(self, task: Task, returned: Parameters, frozen: Parameters) -> None:
        """Compare what the first fit of a training returned with the frozen tensors that it was given."""
        if not frozen or task.training_id == self._training_id:
            return
        self._training_id = task.training_id
        changed = [name for name in frozen if name in returned and not np.array_equal(returned[name], frozen[name])]
        if changed:
            _log.warning(
                "the trainer changed frozen tensors of training %s, and the changes are dropped: %s."
                " Its loss may be that of another model: do not train these tensors",
                task.training_id,
                plain(", ".join(changed)),
            )
