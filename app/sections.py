"""Sections of the settings about callers: what they may use, what needs a key, and the certificate they see."""

import ipaddress
import json
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import NoDecode


class Section(BaseModel):
    """A part of the settings, whose variables begin with ``TCSFEEL_<name>__``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitSettings(Section):
    """How much one caller may use. A caller is a key; without a key it is an address.

    A key of a person or a program may send `requests_per_second`, one of a device `agent_requests_per_second`, and an
    address without a key `address_requests_per_second`, over all servers together. At the same time, each server
    answers at most `concurrent_requests` of a key or an address, and `agent_concurrent_requests` of a device; and
    `waits` calls of an address may wait for rounds.

    A key may have created at most `trainings` that have not ended. The models that are kept of its trainings may have
    `model_bytes` together before a further one is uploaded. Idempotency keys are kept for `idempotency_key_hours`,
    and invitations for `invitation_days` after they have expired or were revoked.
    """

    requests_per_second: Annotated[float, Field(ge=1, le=1_000_000)] = 2_000.0
    agent_requests_per_second: Annotated[float, Field(ge=1, le=1_000_000)] = 50.0
    address_requests_per_second: Annotated[float, Field(ge=1, le=1_000_000)] = 200.0
    concurrent_requests: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    agent_concurrent_requests: Annotated[int, Field(ge=1, le=100_000)] = 32
    waits: Annotated[int, Field(ge=1, le=100_000)] = 256
    trainings: Annotated[int, Field(ge=1, le=10_000_000)] = 1_000
    model_bytes: Annotated[int, Field(ge=1)] = 1_000_000_000_000
    idempotency_key_hours: Annotated[float, Field(ge=0.1, le=1_000_000)] = 168.0
    invitation_days: Annotated[float, Field(ge=0, le=36_500)] = 90.0


class AuditSettings(Section):
    """Records of the audit trail are kept for `keep_days` days; by default, all are kept."""

    keep_days: Annotated[int | None, Field(ge=1, le=36_500)] = None


class MetricSettings(Section):
    """If more than `max_clients` clients are registered, the ``client`` label is ``other``.

    With `need_key`, metrics are given only to callers with a key.
    """

    max_clients: Annotated[int, Field(ge=0)] = 200
    need_key: bool = False


class DocumentationSettings(Section):
    """With `need_key`, Swagger UI and the OpenAPI document are given only to callers with a key."""

    need_key: bool = False


Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
TokenRole = Literal["viewer", "operator", "admin"]


class OidcSettings(Section):
    """The issuer of bearer tokens (OpenID Connect) by which people and programs may call. Without one, only keys count.

    A token has to name the `issuer` and the `audience`, and has to be signed by one of the `algorithms`. Its
    `role_claim` (a name, or a path with dots) has one name or several, which `roles` translates. Clocks may differ by
    `leeway_seconds`. `ca_file` has the certificates by which the issuer is known; None for those of the system.
    """

    issuer: str | None = None
    audience: str | None = None
    algorithms: Annotated[tuple[Algorithm, ...], NoDecode] = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
    role_claim: Annotated[str, Field(pattern=r"^[!-~]{1,256}$")] = "roles"
    roles: Annotated[dict[str, TokenRole], NoDecode] = {"viewer": "viewer", "operator": "operator", "admin": "admin"}
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    ca_file: Path | None = None

    @field_validator("issuer")
    @classmethod
    def _secure(cls, issuer: str | None) -> str | None:
        if issuer is not None and not (issuer.startswith("https://") or is_local(issuer)):
            raise ValueError("must be the issuer's URL, which begins with https://, as its tokens have it in `iss`")
        return issuer

    @field_validator("algorithms", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        value = _parsed(value)
        if not isinstance(value, list | tuple) or not value:
            raise ValueError('must be a JSON list of algorithms, such as ["RS256", "ES256"]')
        return value

    @field_validator("roles", mode="before")
    @classmethod
    def _map(cls, value: Any) -> Any:
        value = _parsed(value)
        if not isinstance(value, dict) or not value:
            raise ValueError('must be a JSON object, such as {"federation-operators": "operator"}')
        return value

    @model_validator(mode="after")
    def _complete(self) -> "OidcSettings":
        if (self.issuer is None) != (self.audience is None):
            raise ValueError("OIDC__ISSUER and OIDC__AUDIENCE must be set together")
        return self


def is_loopback(host: str) -> bool:
    """Tell whether a host name or an address can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_local(url: str) -> bool:
    """Tell whether a URL leads to this machine, over HTTP, by a name or an address that cannot lead elsewhere."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "http" and is_loopback(parts.hostname or "")


def _parsed(value: Any) -> Any:
    """Parse JSON of the environment; None if it is none."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None


class TlsSettings(Section):
    """The certificate of the server itself, and its key. Without them it speaks plain HTTP."""

    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _key_of_certificate(self) -> "TlsSettings":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("TLS__CERT_FILE and TLS__KEY_FILE must be set together")
        return self


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"
