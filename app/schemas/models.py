"""Model versions in responses."""

from typing import Annotated

from pydantic import Field

from app.schemas.fields import Instant, ResponseModel
from app.store.models import ModelVersion


class ModelVersionOut(ResponseModel):
    """An immutable set of parameters."""

    round: Annotated[int, Field(description="After which round; 0 for the initial one")]
    sha256: str
    parent: str | None
    size: Annotated[int, Field(description="Bytes")]
    created_at: Instant

    @classmethod
    def of(cls, version: ModelVersion) -> "ModelVersionOut":
        return cls(**{name: getattr(version, name) for name in cls.model_fields})
