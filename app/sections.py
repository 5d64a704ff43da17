"""Sections of the settings that say how much a caller may use."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the settings, whose variables begin with ``TCSFEEL_<name>__``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitSettings(Section):
    """How much one caller may use. Idempotency keys are kept for `idempotency_key_hours`."""

    idempotency_key_hours: Annotated[float, Field(ge=0.1, le=1_000_000)] = 168.0
