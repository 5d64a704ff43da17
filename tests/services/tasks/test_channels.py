"""The two ways to an agent: which one a task takes."""

from pathlib import Path
from typing import Any

import pytest

from app.domain.clients import Endpoint, Health
from app.metrics import Metrics
from app.services.tasks.bodies import TaskBody
from app.services.tasks.channels import Channels
from app.services.tasks.replies import Reply
from app.store.model_store import ModelStore, StoredFile

CALLED, PULLING = Endpoint("http://a"), Endpoint(None, client_id="b")


class Noted:
    """A channel that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def health(self, agent: Endpoint) -> Health:
        del agent
        self.asked.append("health")
        return Health(alive=True)

    async def initial_model(self, agent: Endpoint, store: ModelStore, **_: Any) -> StoredFile:
        del agent, store
        self.asked.append("initial_model")
        return StoredFile("a" * 64, 1)

    async def has_frozen(self, agent: Endpoint, frozen_id: str) -> bool:
        del agent, frozen_id
        self.asked.append("has_frozen")
        return True

    async def hand_over(self, agent: Endpoint, task_id: str, body: TaskBody, spool: ModelStore, **_: Any) -> Reply:
        del agent, task_id, body, spool
        self.asked.append("hand_over")
        return Reply("working")

    async def poll(self, agent: Endpoint, task_id: str, wait: float, spool: ModelStore, **_: Any) -> Reply:
        del agent, task_id, wait, spool
        self.asked.append("poll")
        return Reply("working")

    async def forget(self, agent: Endpoint, task_id: str) -> None:
        del agent, task_id
        self.asked.append("forget")

    def moved_at(self, agent: Endpoint, task_id: str) -> float | None:
        del agent, task_id
        self.asked.append("moved_at")
        return 5.0


@pytest.mark.parametrize("agent", [CALLED, PULLING])
async def test_an_agent_without_an_address_pulls(agent: Endpoint, counts: Metrics, tmp_path: Path) -> None:
    push, pull, spool = Noted(), Noted(), ModelStore(tmp_path)
    channels = Channels(push, pull, counts)
    await channels.health(agent)
    await channels.initial_model(agent, spool)
    await channels.has_frozen(agent, "f")
    await channels.hand_over(agent, "t", TaskBody(b"", memoryview(b"")), spool)
    await channels.poll(agent, "t", 0.0, spool)
    await channels.forget(agent, "t")
    assert channels.moved_at(agent, "t") == 5.0
    asked = ["health", "initial_model", "has_frozen", "hand_over", "poll", "forget", "moved_at"]
    assert (push.asked, pull.asked) == (([], asked) if agent is PULLING else (asked, []))
    name = "pull" if agent is PULLING else "push"
    assert counts.registry.get_sample_value("federated_tasks_handed_over_total", {"channel": name}) == 1.0
