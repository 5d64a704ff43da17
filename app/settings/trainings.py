"""Whether and how this process drives trainings, and the defaults of a training."""

from typing import Annotated

from pydantic import Field

from app.settings.section import Section


class CoordinatorSettings(Section):
    """Whether this process drives trainings, how soon another process takes over, and how long stopping may take."""

    enabled: bool = True
    lease_seconds: Annotated[float, Field(ge=1, le=600)] = 15.0
    tick_seconds: Annotated[float, Field(gt=0, le=60)] = 0.2
    drain_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0


class TrainingSettings(Section):
    """Defaults for fields of a training that its request leaves out."""

    target_accuracy: Annotated[float, Field(gt=0, le=1)] = 0.963
    max_rounds: Annotated[int, Field(ge=1, le=1_000_000)] = 100
