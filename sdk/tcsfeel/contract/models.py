"""Model versions in responses."""

from typing import Annotated

from pydantic import Field

from tcsfeel.contract.fields import Instant, ResponseModel


class ModelVersionOut(ResponseModel):
    """An immutable set of parameters."""

    round: Annotated[int, Field(description="After which round; 0 for the initial one")]
    sha256: str
    parent: str | None
    size: Annotated[int, Field(description="Bytes")]
    created_at: Instant


class ListedModelOut(ModelVersionOut):
    """A version in the history, where it stays when its parameters are removed."""

    accuracy: Annotated[float | None, Field(description="Measured in its round on held-out data")]
    pinned: Annotated[bool, Field(description="Kept whatever the training's `retention` says")]
    removed_at: Annotated[Instant | None, Field(description="Null while it can be downloaded")]
