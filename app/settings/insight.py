"""What operators see: metrics, the documentation of the API, and logs."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from app.settings.section import Section

TRACES_PATH = "/v1/traces"
"""The path at which a collector takes traces, as OTLP has it."""


class MetricSettings(Section):
    """If more than `max_clients` clients are registered, the ``client`` label is ``other``.

    With `need_key`, metrics are given only to callers with a key.
    """

    max_clients: Annotated[int, Field(ge=0)] = 200
    need_key: bool = False


class DocumentationSettings(Section):
    """With `need_key`, Swagger UI and the OpenAPI document are given only to callers with a key."""

    need_key: bool = False


class TraceSettings(Section):
    """Traces of a `share` of the rounds go to the OTLP collector at `endpoint`. Without one, there are none."""

    endpoint: Annotated[str | None, Field(pattern=r"^https?://[^\s?#]{1,2000}$")] = None
    share: Annotated[float, Field(ge=0, le=1)] = 1.0

    @field_validator("endpoint")
    @classmethod
    def _without_the_path(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and endpoint.rstrip("/").endswith(TRACES_PATH):
            raise ValueError(f"must be the URL of the collector without {TRACES_PATH}, which the server adds itself")
        return endpoint


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"
