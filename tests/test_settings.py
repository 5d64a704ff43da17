"""Configuration from the environment."""

import os
from pathlib import Path
from typing import Any

import pytest

from app.buckets import Bucket
from app.settings import Settings, WrongSetting, is_loopback


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TCSFEEL_"):
            monkeypatch.delenv(name)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(f"TCSFEEL_{name}", value)
    return Settings.load()


def test_without_any_variable_it_is_sqlite_and_files_on_loopback() -> None:
    settings = Settings.load()
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8080, Path(".tcsfeel"))
    assert settings.database_url == f"sqlite+aiosqlite:///{Path.cwd() / '.tcsfeel' / 'tcsfeel.db'}"
    assert settings.model_directory == Path(".tcsfeel/models")
    assert (settings.auth.enabled, settings.auth.admin_key) == (True, None)
    assert (settings.training.target_accuracy, settings.training.max_rounds) == (0.963, 100)


ACCEPTED: list[tuple[str, str, Any]] = [
    ("DATA_DIR", "/var/lib/tcsfeel", Path("/var/lib/tcsfeel")),
    ("HOST", "0.0.0.0", "0.0.0.0"),  # noqa: S104  (only read)
    ("PORT", "0", 0),
    ("MAX_BODY_BYTES", "1024", 1024),
    ("DATABASE__URL", "postgresql+asyncpg://u:p@db:5432/tcsfeel", "postgresql+asyncpg://u:p@db:5432/tcsfeel"),
    ("DATABASE__URL", "sqlite+aiosqlite:////srv/x.db", "sqlite+aiosqlite:////srv/x.db"),
    ("DATABASE__MIGRATE_ON_START", "true", True),
    ("DATABASE__POOL_SIZE", "20", 20),
    ("DATABASE__COORDINATOR_POOL_SIZE", "20", 20),
    ("DATABASE__STATEMENT_SECONDS", "60", 60.0),
    ("MODELS__URL", "file:///srv/models", "file:///srv/models"),
    ("MODELS__MAX_BYTES", "1000", 1000),
    ("AUTH__ENABLED", "false", False),
    ("COORDINATOR__ENABLED", "0", False),
    ("COORDINATOR__LEASE_SECONDS", "2.5", 2.5),
    ("AGENTS__CONCURRENCY", "7", 7),
    ("HEALTH__INTERVAL_SECONDS", "5", 5.0),
    ("TRAINING__TARGET_ACCURACY", "0.9", 0.9),
    ("TRAINING__MAX_ROUNDS", "5", 5),
    ("LIMITS__REQUESTS_PER_SECOND", "5.5", 5.5),
    ("LIMITS__TRAININGS", "7", 7),
    ("LIMITS__IDEMPOTENCY_KEY_HOURS", "24", 24.0),
    ("LIMITS__INVITATION_DAYS", "0", 0.0),
    ("OIDC__ALGORITHMS", '["ES256", "EdDSA"]', ("ES256", "EdDSA")),
    ("OIDC__ROLE_CLAIM", "realm_access.roles", "realm_access.roles"),
    ("OIDC__ROLES", '{"ops": "operator"}', {"ops": "operator"}),
    ("METRICS__MAX_CLIENTS", "0", 0),
    ("AUDIT__KEEP_DAYS", "365", 365),
    ("METRICS__NEED_KEY", "true", True),
    ("DOCS__NEED_KEY", "true", True),
    ("AGENTS__CA_FILE", "/etc/ca.pem", Path("/etc/ca.pem")),
    ("LOG__LEVEL", "debug", "debug"),
    ("LOG__FORMAT", "json", "json"),
]


@pytest.mark.parametrize(("name", "text", "value"), ACCEPTED)
def test_each_variable_sets_its_value(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: Any) -> None:
    found: Any = load(monkeypatch, **{name: text})
    for part in name.lower().split("__"):
        found = getattr(found, part)
    assert found == value


def test_networks_are_a_json_list(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, AGENTS__ALLOWED_NETWORKS='["10.0.0.0/8", "fd00::/8"]')
    assert [str(network) for network in settings.agents.allowed_networks] == ["10.0.0.0/8", "fd00::/8"]


def test_secret_keys_are_a_json_list_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, AUTH__SECRET_KEYS=f'["{"s3cr3t" * 6}", "{"0lder-s3cr3t" * 3}"]')
    assert [secret.get_secret_value() for secret in settings.auth.secret_keys] == ["s3cr3t" * 6, "0lder-s3cr3t" * 3]
    assert "s3cr3t" not in f"{settings} {settings!r} {settings.model_dump_json()}"


def test_models_may_lie_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, MODELS__URL="file:///srv/models").model_directory == Path("/srv/models")


PLACES = [
    ("s3://models", Bucket("models")),
    ("s3://models/", Bucket("models")),
    ("s3://models/a/b.c/", Bucket("models", "a/b.c")),
    ("s3://models/a?region=eu-west-1", Bucket("models", "a", None, "eu-west-1")),
    (
        "s3://models?endpoint=http://10.0.0.7:9000&region=garage",
        Bucket("models", "", "http://10.0.0.7:9000", "garage"),
    ),
    ("s3://models?endpoint=https%3A%2F%2Fs3.example", Bucket("models", "", "https://s3.example", None)),
]


@pytest.mark.parametrize(("url", "bucket"), PLACES)
def test_models_may_lie_in_a_bucket(monkeypatch: pytest.MonkeyPatch, url: str, bucket: Bucket) -> None:
    settings = load(monkeypatch, MODELS__URL=url)
    assert settings.models.bucket == bucket
    assert settings.model_directory == Path(".tcsfeel/model-cache")


def test_a_directory_of_models_is_no_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch).models.bucket is None
    assert load(monkeypatch, MODELS__URL="file:///srv/models").models.bucket is None


REFUSED = [
    # variable, value, and what the message says besides the variable's name
    ("PORT", "65536", "less than or equal to 65535"),
    ("PORT", "http", "a valid integer"),
    ("MAX_BODY_BYTES", "1", "greater than or equal to 1024"),
    ("DATABASE__URL", "mysql://db/tcsfeel", "must start with sqlite+aiosqlite:/// or postgresql+asyncpg://"),
    ("DATABASE__URL", "postgresql://db/tcsfeel", "must start with sqlite+aiosqlite:/// or postgresql+asyncpg://"),
    ("DATABASE__URL", "postgresql+asyncpg://u:s3cr3t@db:port/x", "must be a URL such as postgresql+asyncpg://"),
    ("DATABASE__URL", "sqlite+aiosqlite:///", "must name a file"),
    ("DATABASE__URL", "sqlite+aiosqlite:///:memory:", "must name a file"),
    ("DATABASE__POOL_SIZE", "0", "greater than or equal to 1"),
    ("DATABASE__COORDINATOR_POOL_SIZE", "1", "greater than or equal to 2"),
    ("DATABASE__STATEMENT_SECONDS", "0.5", "greater than or equal to 1"),
    ("DATABASE__MIGRATE_ON_START", "perhaps", "must be true or false"),
    ("DATABASE__ULR", "sqlite+aiosqlite:///x", "there is no such setting"),
    ("DATABASE", "sqlite+aiosqlite:///x", "must be a JSON object; or set TCSFEEL_DATABASE__… variables one by one"),
    ("DATABASE", "[]", "valid dictionary"),
    ("MODELS__URL", "gs://bucket", "must start with file:/// or s3://"),
    ("MODELS__URL", "s3://", "must be a URL such as s3://bucket/prefix"),
    ("MODELS__URL", "s3://key:s3cr3t@bucket", "must be a URL such as s3://bucket/prefix"),
    ("MODELS__URL", "s3://bucket/../s3cr3t", "must be a URL such as s3://bucket/prefix"),
    ("MODELS__URL", "s3://bucket/a//s3cr3t", "must be a URL such as s3://bucket/prefix"),
    ("MODELS__URL", "s3://bucket?s3cr3t", "must be a URL such as s3://bucket/prefix"),
    ("MODELS__URL", "s3://bucket?secret_access_key=s3cr3t", "set credentials in AWS_… variables"),
    ("MODELS__URL", "s3://bucket?endpoint=s3.example:9000", "an endpoint that is http://host or https://host"),
    ("MODELS__URL", "s3://bucket?endpoint=https://u:s3cr3t@s3.example", "http://host or https://host, without cred"),
    ("MODELS__URL", "s3://bucket?endpoint=https://[s3cr3t", "http://host or https://host, without cred"),
    ("MODELS__PRESIGNED_URLS", "true", "may be true only if MODELS__URL is that of a bucket"),
    ("MODELS__PRESIGNED_ENDPOINT", "https://u:s3cr3t@s3.example", "http://host or https://host, without cred"),
    ("MODELS__MAX_BYTES", "0", "greater than or equal to 1"),
    ("TRACES__ENDPOINT", "127.0.0.1:4318", "should match pattern"),
    ("TRACES__ENDPOINT", "http://127.0.0.1:4318/v1/traces", "without /v1/traces, which the server adds itself"),
    ("TRACES__ENDPOINT", "http://127.0.0.1:4318/otlp/v1/traces/", "without /v1/traces, which the server adds itself"),
    ("OIDC__ISSUER", "http://id.example", "must be the issuer's URL, which begins with https://"),
    ("OIDC__ISSUER", "http://localhost.example", "must be the issuer's URL, which begins with https://"),
    ("OIDC__ISSUER", "https://id.example", "OIDC__AUDIENCE must be set together"),
    ("OIDC__ALGORITHMS", "RS256", 'must be a JSON list of algorithms, such as ["RS256", "ES256"]'),
    ("OIDC__ALGORITHMS", "[]", "must be a JSON list of algorithms"),
    ("OIDC__ALGORITHMS", '["RS256", "none"]', "should be 'RS256'"),
    ("OIDC__ALGORITHMS", '["HS256"]', "should be 'RS256'"),
    ("OIDC__ROLES", "operator", "must be a JSON object, such as"),
    ("OIDC__ROLES", '{"devices": "agent"}', "should be 'viewer', 'operator' or 'admin'"),
    ("AUTH__ENABLED", "maybe", "must be true or false"),
    ("AUTH__ADMIN_KEY", "s3cr3t", "must be 16 or more visible ASCII characters"),
    ("AUTH__ADMIN_KEY", "s3cr3t with several spaces", "must be 16 or more visible ASCII characters"),
    ("AUTH__ADMIN_KEY", "s3cr3t-s3cr3t-s3cr3t\n", "must be 16 or more visible ASCII characters"),
    ("AUTH__ADMIN_KEY", "s3cr3t-s3cr3t-s3cr3té", "must be 16 or more visible ASCII characters"),
    ("AUTH__SECRET_KEYS", "s3cr3t" * 6, "must be a JSON list of texts of 32 or more visible ASCII characters"),
    ("AUTH__SECRET_KEYS", f'"{"s3cr3t" * 6}"', "must be a JSON list of texts of 32 or more visible ASCII characters"),
    ("AUTH__SECRET_KEYS", '["s3cr3t"]', "must be a JSON list of texts of 32 or more visible ASCII characters"),
    (
        "AUTH__SECRET_KEYS",
        f'["{"s3cr3t " * 6}"]',
        "must be a JSON list of texts of 32 or more visible ASCII characters",
    ),
    ("AUTH__SECRET_KEYS", "[12345678901234567890123456789012]", "must be a JSON list of texts of 32 or more visible"),
    ("AUTH__SECRET_KEYS", "[" * 100_000, "must be a JSON list of texts of 32 or more visible ASCII characters"),
    ("AGENTS__ALLOWED_NETWORKS", "10.0.0.0/8", 'must be a JSON list of networks, such as ["10.0.0.0/8"'),
    ("AGENTS__ALLOWED_NETWORKS", '{"a": 1}', 'must be a JSON list of networks, such as ["10.0.0.0/8"'),
    ("AGENTS__ALLOWED_NETWORKS", '"10.0.0.0/8"', 'must be a JSON list of networks, such as ["10.0.0.0/8"'),
    ("AGENTS__ALLOWED_NETWORKS", '["10.0.0.0/33"]', "a valid IPv4 or IPv6 network"),
    ("AGENTS__ALLOWED_NETWORKS", '["10.0.0.1/8"]', "a valid IPv4 or IPv6 network"),
    ("AGENTS__CLIENT_CERT_FILE", "x.crt", "AGENTS__CLIENT_CERT_FILE and AGENTS__CLIENT_KEY_FILE must be set together"),
    ("TLS__CERT_FILE", "x.crt", "TLS__CERT_FILE and TLS__KEY_FILE must be set together"),
    ("AGENTS__CONCURRENCY", "0", "greater than or equal to 1"),
    ("AGENTS__POLL_SECONDS", "60", "must be less than AGENTS__READ_SECONDS"),
    ("COORDINATOR__LEASE_SECONDS", "0", "greater than or equal to 1"),
    ("COORDINATOR__LEASE_SECONDS", "nan", "less than or equal to 600"),
    ("COORDINATOR__LEASE_SECONDS", "inf", "less than or equal to 600"),
    ("TRAINING__TARGET_ACCURACY", "96.3", "less than or equal to 1"),
    ("TRAINING__TARGET_ACCURACY", "0", "greater than 0"),
    ("TRAINING__TARGET_ACCURACY", "nan", "less than or equal to 1"),
    ("TRAINING__MAX_ROUNDS", "0", "greater than or equal to 1"),
    ("TRAINING__MAX_ROUNDS", "1.5", "a valid integer"),
    ("TRAINING__ROUNDS", "5", "there is no such setting"),
    ("LOG__LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ("LOG__FORMAT", "xml", "'console' or 'json'"),
]


@pytest.mark.parametrize(("name", "value", "rule"), REFUSED)
def test_a_wrong_value_stops_with_the_variable_and_what_it_may_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, rule: str
) -> None:
    with pytest.raises(WrongSetting) as stopped:
        load(monkeypatch, **{name: value})
    message = str(stopped.value)
    assert message.startswith(f"TCSFEEL_{name}")
    assert rule in message
    assert "\n" not in message
    assert "s3cr3t" not in message


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WrongSetting) as stopped:
        load(monkeypatch, PORT="x", LOG__LEVEL="loud")
    assert "TCSFEEL_PORT: " in str(stopped.value)
    assert "TCSFEEL_LOG__LEVEL: " in str(stopped.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "example.org", ""])  # noqa: S104  (refused)
def test_authentication_can_be_off_on_loopback_alone(host: str) -> None:
    with pytest.raises(WrongSetting) as stopped:
        Settings.load(host=host, auth={"enabled": False})
    assert str(stopped.value).startswith("TCSFEEL_AUTH__ENABLED may be false only if HOST")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_has_many_names(host: str) -> None:
    assert is_loopback(host)
    assert not Settings.load(host=host, auth={"enabled": False}).auth.enabled


def test_a_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCSFEEL_PORT", "9000")
    assert Settings.load().port == 9000
    assert Settings.load(port=9001).port == 9001


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, PORT="", AUTH__ADMIN_KEY="") == Settings()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings.load(), "port", 1)  # noqa: B010  (a plain assignment would not pass the type checker)
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings.load().log, "level", "debug")  # noqa: B010


def test_the_admin_key_is_not_shown() -> None:
    settings = Settings.load(auth={"admin_key": "s3cr3t-s3cr3t-s3cr3t"})
    assert "s3cr3t" not in f"{settings} {settings!r} {settings.model_dump_json()}"
