"""Go on from what a training has: with more rounds, or as a new training that starts from one of its versions."""

from typing import Any

from tcsfeel.client.messages import call, with_body
from tcsfeel.client.operations import unique
from tcsfeel.contract.training_changes import ExtendTraining, ForkTraining
from tcsfeel.contract.trainings import TrainingOut
from tcsfeel.rest.exchange import Request, Steps
from tcsfeel.rest.paths import path


def extend_training(
    training_id: str, extension: ExtendTraining | None = None, *, idempotency_key: str | None = None, **fields: Any
) -> Steps[TrainingOut]:
    """Let a completed or failed training run more `rounds`. Calls with the same key extend it only once."""
    where, headers = path("/v1/trainings/{training_id}/extend", training_id), unique(idempotency_key)
    request = Request("POST", where, headers=headers, repeatable=True)
    request = yield from with_body(request, ExtendTraining, extension, fields)
    return (yield from call(TrainingOut, request))


def fork_training(
    training_id: str,
    *,
    after_round: int | None = None,
    optimiser: bool = False,
    idempotency_key: str | None = None,
    **changes: Any,
) -> Steps[TrainingOut]:
    """Create a training that starts from a model version of another one, whose configuration it has, with `changes`.

    Args:
        training_id: the id of the other training.
        after_round: the round that made the version; by default the newest version.
        optimiser: whether the state of the server optimiser is taken over, too.
        idempotency_key: calls with the same key create one training. The default is a new key.
        **changes: fields as of `create_training`; nested ones are merged.
    """
    start: dict[str, Any] = {"training": training_id, "optimiser": optimiser}
    if after_round is not None:
        start["round"] = after_round
    request = Request("POST", "/v1/trainings", headers=unique(idempotency_key), repeatable=True)
    request = yield from with_body(request, ForkTraining, None, changes | {"from": start})
    return (yield from call(TrainingOut, request))
