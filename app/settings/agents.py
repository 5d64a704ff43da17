"""How agents are reached, and when they count as silent."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, IPvAnyNetwork, field_validator, model_validator
from pydantic_settings import NoDecode

from app.settings.section import Section, networks_of


class AgentSettings(Section):
    """How agents are reached. An agent counts as slow if it takes more than `slow_seconds` to receive a task.

    An empty `allowed_networks` allows every public address, and private networks too if the server listens on loopback
    only. Some addresses are refused whatever it allows: see `app/services/tasks/addresses.py`. With a `ca_file`, only
    its authorities are trusted.
    """

    allowed_networks: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = ()
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    connect_seconds: Annotated[float, Field(gt=0, le=300)] = 5.0
    read_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    min_bytes_per_second: Annotated[float, Field(ge=1, le=1_000_000_000)] = 1_000.0
    poll_seconds: Annotated[float, Field(gt=0, le=60)] = 20.0
    slow_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 200

    @field_validator("allowed_networks", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return networks_of(value)

    @model_validator(mode="after")
    def _key_of_certificate(self) -> "AgentSettings":
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise ValueError("AGENTS__CLIENT_CERT_FILE and AGENTS__CLIENT_KEY_FILE must be set together")
        return self

    @model_validator(mode="after")
    def _polls_end_before_reads(self) -> "AgentSettings":
        if self.poll_seconds >= self.read_seconds:
            raise ValueError(
                "AGENTS__POLL_SECONDS must be less than AGENTS__READ_SECONDS, or every long poll would time out"
            )
        return self


class HealthSettings(Section):
    """How often a client has to give a sign of life, in seconds."""

    interval_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
