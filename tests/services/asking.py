"""The ways to ask an agent for something: whatever goes for one goes for the others."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from app.domain.clients import Endpoint
from app.services.tasks.agents import AgentCaller
from app.services.tasks.answers import AgentFailed
from app.services.tasks.bodies import TaskBody
from app.services.tasks.replies import Reply
from app.store.model_store import ModelStore, StoredFile
from tcsfeel.wire.compression import IDENTITY
from tests.services.fakes import endpoint

PAYLOAD = TaskBody(b"head", memoryview(b"block"))
HELLO = StoredFile(hashlib.sha256(b"hello").hexdigest(), 5)
AGENT = endpoint("http://agent/base/", auth_token="s3cret-token")


def spooled(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "spool").glob("*")]


async def poll(
    agents: AgentCaller, spool: ModelStore, agent: Endpoint = AGENT, accept: str = IDENTITY, limit: int | None = None
) -> Reply:
    return await agents.poll(agent, "t.1.a.fit", 20.0, spool, accept=accept, limit=limit)


async def hand_over(
    agents: AgentCaller, spool: ModelStore, agent: Endpoint = AGENT, accept: str = IDENTITY, limit: int | None = None
) -> Reply:
    return await agents.hand_over(agent, "t.1.a.fit", PAYLOAD, spool, accept=accept, limit=limit)


async def initial_model(agents: AgentCaller, spool: ModelStore, agent: Endpoint = AGENT) -> Reply:
    return Reply("result", await agents.initial_model(agent, spool))


ASK = pytest.mark.parametrize("ask", [poll, hand_over], ids=["poll", "hand_over"])
FETCH = pytest.mark.parametrize("fetch", [poll, hand_over, initial_model], ids=["poll", "hand_over", "initial_model"])


async def failure(call: Any) -> str:
    with pytest.raises(AgentFailed) as caught:
        await call
    return str(caught.value)
