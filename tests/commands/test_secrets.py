"""``tcsfeel secrets rotate`` encrypts what the database holds with the newest secret."""

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.commands import secrets
from app.services.access.secrets import ServerSecret
from app.services.access.tokens import AgentTokens
from app.store.database import Database
from tests.services.fakes import profile
from tests.store.samples import client

OLD, NEW = "an-older-secret-" * 2, "a-newer-secret--" * 2
TOKEN = "the-token-of-the-agent"


def tokens(secret: str) -> AgentTokens:
    return AgentTokens(ServerSecret([secret.encode()]))


def store(url: str, **sealed_with: str) -> None:
    async def add() -> None:
        db = Database(url)
        async with db.begin() as tx:
            await tx.clients.add(
                [
                    client(name, profile=tokens(secret).seal(profile(auth_token=TOKEN)))
                    for name, secret in sealed_with.items()
                ]
            )
        await db.dispose()

    asyncio.run(add())


def stored(url: str) -> dict[str, str]:
    async def read() -> dict[str, str]:
        db = Database(url)
        async with db.read() as tx:
            found = await tx.tokens.page(after="", limit=10)
        await db.dispose()
        return dict(found)

    return asyncio.run(read())


@pytest.fixture
def environment(database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "TCSFEEL_DATA_DIR": str(tmp_path),
        "TCSFEEL_DATABASE__URL": database_url,
        "TCSFEEL_AUTH__SECRET_KEYS": f'["{NEW}", "{OLD}"]',
    }


def test_all_tokens_are_encrypted_with_the_newest_secret(database_url: str, environment: dict[str, str]) -> None:
    store(database_url, a=OLD, b=NEW)
    result = CliRunner().invoke(secrets, ["rotate"], env=environment)
    assert (result.exit_code, result.output) == (0, "2 tokens of clients were encrypted with the newest secret\n")
    assert {name: tokens(NEW).opened(token) for name, token in stored(database_url).items()} == {"a": TOKEN, "b": TOKEN}


def test_a_token_that_no_secret_decrypts_is_named_and_stops_no_other(
    database_url: str, environment: dict[str, str]
) -> None:
    store(database_url, a=OLD, b="a-secret-that-nobody-has-any-more")
    result = CliRunner().invoke(secrets, ["rotate"], env=environment)
    assert result.exit_code == 1
    assert (
        "1 tokens of clients were encrypted with the newest secret, but 1 could not be decrypted: b." in result.output
    )
    assert tokens(NEW).opened(stored(database_url)["a"]) == TOKEN


def test_a_wrong_setting_is_told(environment: dict[str, str]) -> None:
    result = CliRunner().invoke(secrets, ["rotate"], env=environment | {"TCSFEEL_AUTH__SECRET_KEYS": "short"})
    assert result.exit_code == 1
    assert "TCSFEEL_AUTH__SECRET_KEYS" in result.output
