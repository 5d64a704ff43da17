"""Warn at the start of what the settings leave open, and of keys that cannot be used, each with what to do."""

from collections.abc import Iterator

import structlog

from app.services.access.api_keys import ApiKeys
from app.settings import Settings, is_loopback
from app.store.database import Database
from app.store.migrations import SchemaCheck
from app.store.outages import Outage

log = structlog.get_logger(__name__)

PLAIN_HTTP = (
    "keys and models can be read on the network, because the server listens beyond loopback without TLS: set "
    "TCSFEEL_TLS__CERT_FILE and TCSFEEL_TLS__KEY_FILE, or let a reverse proxy with TLS stand before it"
)
NO_PRIVATE_AGENTS = (
    "agents in private networks are refused, because the server listens beyond loopback: if there are any, list their "
    'networks in TCSFEEL_AGENTS__ALLOWED_NETWORKS, for example ["10.20.0.0/16"]'
)
UNUSABLE_KEYS = (
    "some stored keys belong to a secret that this server does not have, so calls with them are refused: add that "
    "secret to TCSFEEL_AUTH__SECRET_KEYS, or set the admin key of that time; else revoke these keys and make new ones"
)


def of_settings(settings: Settings) -> Iterator[str]:
    """Give what the settings leave open. Without authentication, a server does not listen beyond loopback at all."""
    if is_loopback(settings.host):
        return
    if settings.tls.cert_file is None:
        yield PLAIN_HTTP
    if not settings.agents.allowed_networks:
        yield NO_PRIVATE_AGENTS


async def warn(settings: Settings, db: Database, keys: ApiKeys) -> None:
    """Log what an operator should know, once. Keys are looked at if the database answers and has a schema that fits."""
    for warning in of_settings(settings):
        log.warning(warning)

    schema = SchemaCheck(db)

    async def count() -> None:
        if await schema.obstacle() is None and (number := await keys.of_other_secrets()) > 0:
            log.warning(UNUSABLE_KEYS, keys=number)

    await Outage().outlast(count, "the keys of other secrets could not be counted")
