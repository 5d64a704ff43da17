"""Encrypt what the database holds again, with the newest secret of the settings."""

from app.services.access.keys import AdminKey
from app.services.access.secrets import ServerSecret
from app.services.access.tokens import AgentTokens, Renewal, TokenRenewal
from app.settings import Settings
from app.store.database import Database


async def renew_tokens(settings: Settings) -> Renewal:
    """Encrypt the tokens of all clients again.

    Raises:
        WrongSetting: the admin key cannot be read.
        DatabaseUnavailable: the database does not answer.
    """
    tokens = AgentTokens(ServerSecret.load(settings, AdminKey.load(settings)))
    db = Database(settings.database_url)
    try:
        return await TokenRenewal(db, tokens).rotate()
    finally:
        await db.dispose()
