"""The tokens of agents are encrypted in the database, and are still sent to the agents."""

from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from app.services.access.secrets import ENCRYPTED, ServerSecret
from app.services.access.tokens import NAMED, PORTION, AgentTokens, LockedToken, Renewal, TokenRenewal
from app.services.fleet.clients import Clients
from app.services.tasks.answers import AgentFailed
from app.settings import HealthSettings
from app.store.database import Database
from app.store.model_store import ModelStore
from tests.clocks import FakeClock
from tests.services.access.replicas import server
from tests.services.fakes import SECRET, TOKENS, calling, metrics, profile
from tests.store.samples import client

OTHER = AgentTokens(ServerSecret([b"a secret of another server"]))
TOKEN = "the-token-of-the-agent"


def clients(db: Database, tokens: AgentTokens = TOKENS) -> Clients:
    return Clients(db, FakeClock(), metrics(), HealthSettings(), tokens, keys=server(db).keys)


async def stored(db: Database) -> dict[str, str]:
    async with db.read() as tx:
        return dict(await tx.tokens.page(after="", limit=1000))


async def add(db: Database, **tokens: str | None) -> None:
    """Store tokens as an earlier version did."""
    async with db.begin() as tx:
        await tx.clients.add(
            [client(name, profile=replace(client(name).profile, auth_token=token)) for name, token in tokens.items()]
        )


async def test_every_way_to_register_encrypts_the_token(db: Database) -> None:
    found = clients(db)
    await found.register([("one", profile(auth_token=TOKEN))])
    await found.register(
        [("two", profile(auth_token=TOKEN)), ("three", profile(auth_token=TOKEN)), ("none", profile())]
    )
    await found.put("four", profile(auth_token=TOKEN))
    await found.put("four", profile(auth_token=f"{TOKEN}-2"))
    await found.change("none", {"auth_token": TOKEN})
    kept = await stored(db)
    assert {name: TOKENS.opened(token) for name, token in kept.items()} == {
        "four": f"{TOKEN}-2", "none": TOKEN, "one": TOKEN, "three": TOKEN, "two": TOKEN,
    }  # fmt: skip
    assert all(token.startswith(ENCRYPTED) for token in kept.values())
    assert len(set(kept.values())) == len(kept)  # each is encrypted in its own way


async def test_a_token_that_stays_is_not_written_again(db: Database) -> None:
    found = clients(db)
    await found.put("one", profile(auth_token=TOKEN))
    before = await stored(db)
    await found.put("one", profile(auth_token=TOKEN))
    await found.change("one", {"auth_token": TOKEN, "data_size": 11})
    assert await stored(db) == before
    await found.change("one", {"data_size": 12})
    assert await stored(db) == before
    await found.change("one", {"auth_token": None})
    assert await stored(db) == {}


async def test_a_plain_token_of_an_earlier_version_is_used_and_encrypted_when_it_is_registered_again(
    db: Database,
) -> None:
    await add(db, one=TOKEN)
    assert TOKENS.opened((await stored(db))["one"]) == TOKEN
    await clients(db).put("one", profile(auth_token=TOKEN))
    assert (await stored(db))["one"].startswith(ENCRYPTED)


async def test_the_agent_gets_the_token_and_one_that_no_secret_opens_fails_its_own_client(tmp_path: Path) -> None:
    sent: list[str | None] = []

    def agent(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers.get("Authorization"))
        return httpx2.Response(200)

    sealed = (tokens.seal(profile(auth_token=TOKEN)) for tokens in (TOKENS, OTHER))
    known, foreign = (client(profile=one).endpoint for one in sealed)
    async with calling(agent) as agents:
        assert (await agents.health(known)).alive
        assert not (await agents.health(foreign)).alive
        with pytest.raises(AgentFailed, match=r"its stored token was encrypted .* TCSFEEL_AUTH__SECRET_KEYS"):
            await agents.poll(foreign, "t", 1.0, ModelStore(tmp_path))
    assert sent == [f"Bearer {TOKEN}"]


async def test_tokens_of_an_earlier_version_are_encrypted_once_in_the_background(db: Database) -> None:
    many = {f"c-{number:04}": f"{TOKEN}-{number}" for number in range(PORTION + 5)}
    await add(db, **many, without=None)
    await clients(db).put("z", profile(auth_token=TOKEN))
    before = (await stored(db))["z"]
    renewal = TokenRenewal(db, TOKENS)
    with capture_logs() as logs:
        await renewal.tick()
        await renewal.tick()
    kept = await stored(db)
    assert kept.pop("z") == before  # it was encrypted already
    assert {name: TOKENS.opened(token) for name, token in kept.items()} == many
    assert all(token.startswith(ENCRYPTED) for token in kept.values())
    assert [entry["tokens"] for entry in logs] == [PORTION + 5]


async def test_a_rotation_leaves_nothing_that_needs_the_old_secret(db: Database) -> None:
    new = AgentTokens(ServerSecret([b"the new one", b"a secret of another server"]))
    await add(db, plain=TOKEN)
    await clients(db, OTHER).put("old", profile(auth_token=TOKEN))
    await clients(db, TOKENS).put("lost", profile(auth_token=TOKEN))
    done = await TokenRenewal(db, new).rotate()
    assert (done.renewed, done.locked) == (2, ("lost",))
    kept = await stored(db)
    alone = AgentTokens(ServerSecret([b"the new one"]))
    assert {name: alone.opened(kept[name]) for name in ("plain", "old")} == {"plain": TOKEN, "old": TOKEN}
    assert TOKENS.opened(kept["lost"]) == TOKEN  # it is left as it is
    assert alone.renewed(kept["lost"]) is None
    with pytest.raises(LockedToken):
        alone.opened(kept["lost"])


async def test_a_token_that_changes_during_a_rotation_is_not_overwritten(db: Database) -> None:
    await add(db, one="before")
    async with db.begin() as tx:
        await tx.tokens.replace([("one", "something else", "late")])
    assert await stored(db) == {"one": "before"}


def test_a_renewal_names_the_clients_that_are_locked_out() -> None:
    assert str(Renewal(3)) == "3 tokens of clients were encrypted with the newest secret"
    told = str(Renewal(3, tuple(f"c-{number}" for number in range(NAMED + 2))))
    assert f"{NAMED + 2} could not be decrypted: c-0, c-1" in told
    assert "and 2 more. Add the secret of that time to TCSFEEL_AUTH__SECRET_KEYS, or let these clients" in told


async def test_no_plain_token_is_in_the_files_of_a_database(sqlite: Database) -> None:
    path = Path(make_url(str(sqlite.url)).database or "")
    await add(sqlite, old=TOKEN)
    await clients(sqlite).put("new", profile(auth_token=TOKEN))
    assert TOKEN.encode() in content(path)  # so it would be found
    await TokenRenewal(sqlite, TOKENS).tick()
    async with sqlite.begin() as tx:
        await tx.connection.exec_driver_sql("SELECT 1")
    await sqlite.dispose()  # which brings the log of the last transactions into the file
    assert SECRET.decrypt(SECRET.encrypt(TOKEN)) == TOKEN
    assert TOKEN.encode() not in content(path)


def content(path: Path) -> bytes:
    """Return what the files of a database hold."""
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
