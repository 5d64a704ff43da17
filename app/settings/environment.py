"""Configuration from the environment: prefix ``TCSFEEL_``, nesting with ``__``.

``Settings.load`` reports a wrong value with the variable's name and the values that it may have. There is no global
instance: the composition root makes one and passes its parts on.
"""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from app.settings.access import AuthSettings, OidcSettings, TlsSettings
from app.settings.agents import AgentSettings, HealthSettings
from app.settings.hosts import is_loopback
from app.settings.insight import DocumentationSettings, LogSettings, MetricSettings, TraceSettings
from app.settings.limits import LimitSettings
from app.settings.rpc import GrpcSettings
from app.settings.storage import MEGABYTE, AuditSettings, DatabaseSettings, EventSettings, ModelSettings
from app.settings.trainings import CoordinatorSettings, TrainingSettings
from app.settings.webhooks import WebhookSettings

PREFIX = "TCSFEEL_"
_PATH_PREFIX = re.compile(r"(?=.{2,256}$)(?:/[A-Za-z0-9._~-]+)+")


class WrongSetting(ValueError):
    """A setting has a wrong value, so the server cannot start. The message names the variable and its valid values."""


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore", env_ignore_empty=True
    )

    data_dir: Path = Path(".tcsfeel")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    path_prefix: str | None = None
    max_body_bytes: Annotated[int, Field(ge=1024)] = 256 * MEGABYTE
    refusals_per_second: Annotated[float, Field(ge=1, le=1_000_000)] = 20.0
    database: DatabaseSettings = DatabaseSettings()
    models: ModelSettings = ModelSettings()
    auth: AuthSettings = AuthSettings()
    tls: TlsSettings = TlsSettings()
    agents: AgentSettings = AgentSettings()
    coordinator: CoordinatorSettings = CoordinatorSettings()
    health: HealthSettings = HealthSettings()
    training: TrainingSettings = TrainingSettings()
    webhooks: WebhookSettings = WebhookSettings()
    events: EventSettings = EventSettings()
    limits: LimitSettings = LimitSettings()
    oidc: OidcSettings = OidcSettings()
    audit: AuditSettings = AuditSettings()
    metrics: MetricSettings = MetricSettings()
    traces: TraceSettings = TraceSettings()
    grpc: GrpcSettings = GrpcSettings()
    docs: DocumentationSettings = DocumentationSettings()
    log: LogSettings = LogSettings()

    @field_validator("path_prefix")
    @classmethod
    def _is_a_path(cls, prefix: str | None) -> str | None:
        if prefix is not None and not _PATH_PREFIX.fullmatch(prefix):
            raise ValueError(
                "must be the path before every path of the API, such as /federation: it begins with a slash, does not "
                "end with one, and has at most 256 letters, digits and characters of -._~/"
            )
        return prefix

    @model_validator(mode="after")
    def _open_only_on_loopback(self) -> "Settings":
        if not self.auth.enabled and not is_loopback(self.host):
            raise ValueError("AUTH__ENABLED may be false only if HOST is a loopback address")
        return self

    @property
    def register_by_key(self) -> bool:
        """Whether keys of people and programs may register new clients."""
        return is_loopback(self.host) if self.auth.register_by_key is None else self.auth.register_by_key

    @property
    def database_url(self) -> str:
        return self.database.url or f"sqlite+aiosqlite:///{(self.data_dir / 'tcsfeel.db').absolute()}"

    @property
    def model_directory(self) -> Path:
        """The directory of model files on this machine; with a bucket, a cache of files that were read or written."""
        if self.models.url is None:
            return self.data_dir / "models"
        if self.models.bucket is not None:
            return self.data_dir / "model-cache"
        return Path(self.models.url.removeprefix("file://"))

    @classmethod
    def load(cls, **overrides: Any) -> "Settings":
        """Read the environment; `overrides` from a command line take precedence. Raises `WrongSetting`."""
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise WrongSetting("; ".join(_explain(problem) for problem in error.errors())) from None
        except SettingsError as error:
            section = "".join(re.findall(r'field "(\w+)"', str(error))).upper()
            raise WrongSetting(
                f"{PREFIX}{section}: must be a JSON object; or set {PREFIX}{section}__… variables one by one"
            ) from None


_WORDS = {"extra_forbidden": "there is no such setting", "bool_parsing": "must be true or false"}


def _explain(problem: Any) -> str:
    places = [str(place).upper() for place in problem["loc"] if not isinstance(place, int)]
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if problem["type"] in _WORDS:
        message = _WORDS[problem["type"]]
    elif re.match("[A-Z_]+ ", message):  # of several settings, which it names itself
        return f"{PREFIX}{message}"
    return f"{PREFIX}{'__'.join(places)}: {message}"
