"""Model versions in responses."""

from typing import Annotated

from pydantic import Field

from tcsfeel.contract.fields import Instant, ResponseModel


class ModelVersionOut(ResponseModel):
    """A version of a training's model: a set of parameters that never changes."""

    round: Annotated[int, Field(description="The round that made it; 0 for the initial version")]
    sha256: str
    parent: str | None
    size: Annotated[int, Field(description="Size of the file in bytes")]
    created_at: Instant


class ListedModelOut(ModelVersionOut):
    """A version in the history. It stays there after its parameters have been removed."""

    accuracy: Annotated[float | None, Field(description="Accuracy on held-out data, as measured in its round")]
    goal_value: Annotated[float | None, Field(description="Value of the goal's metric, measured in the same way")] = (
        None
    )
    pinned: Annotated[bool, Field(description="Whether it is kept even if the training's `retention` would remove it")]
    removed_at: Annotated[
        Instant | None, Field(description="When its parameters were removed; null if they can be downloaded")
    ]
