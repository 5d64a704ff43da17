"""Encrypt what the database holds again, with the newest secret of the settings."""

from dataclasses import replace

from app.clock import SystemClock
from app.services.access.keys import AdminKey
from app.services.access.secrets import ServerSecret
from app.services.access.tokens import AgentTokens, Renewal, TokenRenewal
from app.services.webhooks.webhooks import Webhooks
from app.settings import Settings
from app.store.database import Database


async def renew_tokens(settings: Settings) -> Renewal:
    """Encrypt the tokens of all clients, and the secrets of all webhooks, again.

    Raises:
        WrongSetting: the admin key cannot be read.
        DatabaseUnavailable: the database does not answer.
    """
    secret = ServerSecret.load(settings, AdminKey.load(settings))
    tokens = AgentTokens(secret)
    db = Database(settings.database_url)
    try:
        renewal = await TokenRenewal(db, tokens).rotate()
        webhooks, locked = await Webhooks(db, SystemClock(), secret, most=0).renew_secrets()
        return replace(renewal, webhooks=webhooks, locked_webhooks=tuple(locked))
    finally:
        await db.dispose()
