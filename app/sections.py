"""Sections of the settings about callers: what they may use, and what needs a key."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the settings, whose variables begin with ``TCSFEEL_<name>__``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitSettings(Section):
    """How much one caller may use. Idempotency keys are kept for `idempotency_key_hours`."""

    idempotency_key_hours: Annotated[float, Field(ge=0.1, le=1_000_000)] = 168.0


class MetricSettings(Section):
    """If more than `max_clients` clients are registered, the ``client`` label is ``other``.

    With `need_key`, metrics are given only to callers with a key.
    """

    max_clients: Annotated[int, Field(ge=0)] = 200
    need_key: bool = False


class DocumentationSettings(Section):
    """With `need_key`, Swagger UI and the OpenAPI document are given only to callers with a key."""

    need_key: bool = False
