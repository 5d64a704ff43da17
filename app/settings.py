"""Configuration from the environment: prefix ``TCSFEEL_``, nesting with ``__``.

``Settings.load`` reports a wrong value with the variable's name and the values that it may have. There is no global
instance: the composition root makes one and passes its parts on.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.buckets import Bucket
from app.sections import (
    AuditSettings,
    DocumentationSettings,
    LimitSettings,
    LogSettings,
    MetricSettings,
    OidcSettings,
    Section,
    TlsSettings,
    is_loopback,
)

PREFIX = "TCSFEEL_"
KEY = re.compile(r"[\x21-\x7e]{16,}")
SECRET = re.compile(r"[\x21-\x7e]{32,}")
MEGABYTE = 1_000_000


class WrongSetting(ValueError):
    """A setting has a wrong value, so the server cannot start. The message names the variable and its valid values."""


class DatabaseSettings(Section):
    """`url` is ``sqlite+aiosqlite:///path`` or ``postgresql+asyncpg://…``; by default a file in the data directory.

    On Postgres, at most `pool_size` connections are open for the API and `coordinator_pool_size` for rounds, health and
    housekeeping, and a statement may take `statement_seconds`. On SQLite, all of them share `pool_size` connections
    that read and one that writes. `migrate_on_start` is only for Postgres; SQLite is always migrated.
    """

    url: str | None = None
    migrate_on_start: bool = False
    pool_size: Annotated[int, Field(ge=1, le=200)] = 5
    coordinator_pool_size: Annotated[int, Field(ge=2, le=200)] = 5
    statement_seconds: Annotated[float, Field(ge=1, le=3600)] = 10.0

    @field_validator("url")
    @classmethod
    def _known_driver(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not url.startswith(("sqlite+aiosqlite:///", "postgresql+asyncpg://")):
            raise ValueError("must start with sqlite+aiosqlite:/// or postgresql+asyncpg://")
        try:
            parts = make_url(url)
        except (ArgumentError, ValueError):  # the message may repeat the password
            raise ValueError("must be a URL such as postgresql+asyncpg://user:password@host:5432/database") from None
        if parts.get_backend_name() == "sqlite" and parts.database in {None, "", ":memory:"}:
            raise ValueError("must name a file: an in-memory database would be a separate one for each connection")
        return url


class ModelSettings(Section):
    """`url` is ``file:///path``, by default a directory in the data directory, or ``s3://bucket/prefix``.

    One model may have at most `max_bytes`. The file of a removed version is kept for `removal_delay_seconds`.
    """

    url: str | None = None
    max_bytes: Annotated[int, Field(ge=1)] = 4_000 * MEGABYTE
    removal_delay_seconds: Annotated[float, Field(ge=0, le=10_000_000)] = 600.0

    @field_validator("url")
    @classmethod
    def _known_place(cls, url: str | None) -> str | None:
        if url is None or url.startswith("file:///"):
            return url
        if not url.startswith("s3://"):
            raise ValueError("must start with file:/// or s3://")
        Bucket.parse(url)
        return url

    @property
    def bucket(self) -> Bucket | None:
        """The bucket in which models are stored; None if they are stored in a directory."""
        return Bucket.parse(self.url) if self.url is not None and self.url.startswith("s3://") else None


class AuthSettings(Section):
    """If there is no `admin_key`, the first start makes one. Callers send it in a header.

    The newest of `secret_keys` comes first. If there are none, the server derives its secret from the admin key.
    `register_by_key` says whether people's and programs' keys may register new clients; if it is None, they may if the
    server listens only on loopback.
    """

    enabled: bool = True
    admin_key: SecretStr | None = None
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    register_by_key: bool | None = None

    @field_validator("admin_key")
    @classmethod
    def _sendable(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not KEY.fullmatch(key.get_secret_value()):
            raise ValueError("must be 16 or more visible ASCII characters without spaces, since it is sent in a header")
        return key

    @field_validator("secret_keys", mode="before")
    @classmethod
    def _secrets(cls, value: Any) -> Any:
        try:
            value = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, list | tuple) or not all(
            isinstance(secret, str) and SECRET.fullmatch(secret) for secret in value
        ):
            raise ValueError(
                "must be a JSON list of texts of 32 or more visible ASCII characters, the newest one first"
            )
        return value


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
        try:
            value = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            value = None
        if not isinstance(value, list | tuple):
            raise ValueError('must be a JSON list of networks, such as ["10.0.0.0/8", "fd00::/8"]')  # noqa: TRY004  (pydantic's way)
        return value

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


class CoordinatorSettings(Section):
    """Whether this process drives trainings, how soon another process takes over, and how long stopping may take."""

    enabled: bool = True
    lease_seconds: Annotated[float, Field(ge=1, le=600)] = 15.0
    tick_seconds: Annotated[float, Field(gt=0, le=60)] = 0.2
    drain_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0


class HealthSettings(Section):
    """How often a client has to give a sign of life, in seconds."""

    interval_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0


class TrainingSettings(Section):
    """Defaults for fields of a training that its request leaves out."""

    target_accuracy: Annotated[float, Field(gt=0, le=1)] = 0.963
    max_rounds: Annotated[int, Field(ge=1, le=1_000_000)] = 100


class EventSettings(Section):
    """How long events are kept: `keep_days` days, and about the newest `keep_last`. By default, all are kept."""

    keep_days: Annotated[int | None, Field(ge=1, le=36_500)] = None
    keep_last: Annotated[int | None, Field(ge=1_000, le=1_000_000_000)] = None


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore", env_ignore_empty=True
    )

    data_dir: Path = Path(".tcsfeel")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
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
    events: EventSettings = EventSettings()
    limits: LimitSettings = LimitSettings()
    oidc: OidcSettings = OidcSettings()
    audit: AuditSettings = AuditSettings()
    metrics: MetricSettings = MetricSettings()
    docs: DocumentationSettings = DocumentationSettings()
    log: LogSettings = LogSettings()

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
