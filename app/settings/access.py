"""Who may call: keys, the tokens of an issuer, the certificate that callers see, and what needs a key."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from app.settings.hosts import is_local
from app.settings.section import Section, parsed

KEY = re.compile(r"[\x21-\x7e]{16,}")
SECRET = re.compile(r"[\x21-\x7e]{32,}")

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
TokenRole = Literal["viewer", "operator", "admin"]


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
        value = parsed(value)
        if not isinstance(value, list | tuple) or not all(
            isinstance(secret, str) and SECRET.fullmatch(secret) for secret in value
        ):
            raise ValueError(
                "must be a JSON list of texts of 32 or more visible ASCII characters, the newest one first"
            )
        return value


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
    roles: Annotated[dict[str, TokenRole], NoDecode] = {  # noqa: RUF012  (pydantic copies it for each instance)
        "viewer": "viewer",
        "operator": "operator",
        "admin": "admin",
    }
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
        value = parsed(value)
        if not isinstance(value, list | tuple) or not value:
            raise ValueError('must be a JSON list of algorithms, such as ["RS256", "ES256"]')
        return value

    @field_validator("roles", mode="before")
    @classmethod
    def _map(cls, value: Any) -> Any:
        value = parsed(value)
        if not isinstance(value, dict) or not value:
            raise ValueError('must be a JSON object, such as {"federation-operators": "operator"}')
        return value

    @model_validator(mode="after")
    def _complete(self) -> "OidcSettings":
        if (self.issuer is None) != (self.audience is None):
            raise ValueError("OIDC__ISSUER and OIDC__AUDIENCE must be set together")
        return self


class TlsSettings(Section):
    """The certificate of the server itself, and its key. Without them it speaks plain HTTP."""

    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _key_of_certificate(self) -> "TlsSettings":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("TLS__CERT_FILE and TLS__KEY_FILE must be set together")
        return self
