"""Send SCAFFOLD's control variates with a fit task: beside each tensor ``w`` that is learnt, a tensor ``control/w``.

They have the shape of their tensor and are float32, or float64 beside a tensor of that type.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.wire.codec import Parameters
from tcsfeel.wire.errors import MalformedParameters, quoted
from tcsfeel.wire.headers import MAX_NAME, MAX_TENSORS
from tcsfeel.wire.tasks import Task

PREFIX = "control/"


def control_dtype(tensor: npt.NDArray[Any]) -> np.dtype[Any]:
    """Return the dtype of the control variate of a tensor of floating-point numbers."""
    return np.promote_types(tensor.dtype, np.float32)


def joined(model: Parameters, control: Parameters) -> Parameters:
    """Return the tensors of a task: the model's, and the control variates, which are named like their tensors.

    Raises:
        MalformedParameters: the names of the model leave no room for those of the control variates.
    """
    names = {name: f"{PREFIX}{name}" for name in control}
    if taken := sorted(name for name in model if name.startswith(PREFIX)):
        raise MalformedParameters(f"tensor {quoted(taken[0])} has the name of a control variate")
    if long := [name for name, whole in names.items() if len(whole) > MAX_NAME]:
        raise MalformedParameters(f"tensor {quoted(long[0])} has a name that is too long for a control variate")
    if len(model) + len(control) > MAX_TENSORS:
        raise MalformedParameters(f"a model with control variates may have {MAX_TENSORS} tensors in all")
    return {**model, **{whole: control[name] for name, whole in names.items()}}


def separated(task: Task, tensors: Parameters) -> tuple[Task, Parameters]:
    """Return a task with the control variates that came with it as its correction, and the model without them.

    Raises:
        MalformedParameters: a control variate belongs to no tensor, or has another shape or dtype.
    """
    if task.control_round is None:
        return task, tensors
    model = {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}
    control = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name not in model}
    for name, tensor in control.items():
        of = model.get(name)
        if of is None:
            raise MalformedParameters(f"the control variate {quoted(PREFIX + name)} belongs to no tensor")
        if tensor.shape != of.shape or tensor.dtype.kind != "f" or tensor.dtype != control_dtype(of):
            raise MalformedParameters(
                f"the control variate {quoted(PREFIX + name)} is {tensor.dtype}{list(tensor.shape)},"
                f" its tensor is {of.dtype}{list(of.shape)}"
            )
    return replace(task, correction=control), model
