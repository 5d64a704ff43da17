"""Which clients are asked for a first model, and what a training has when none of them gives one.

Covers: app.services.rounds.initial_models
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx2
import numpy as np
import pytest

from app.domain.trainings import TrainingConfig
from app.services.rounds.fleets import Fleet
from app.services.rounds.initial_models import ClientsAway, InitialModels
from app.services.tasks.answers import AgentFailed
from app.store.leases import Fenced, Lease
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.types import Chosen, Plan, Selection
from tcsfeel.wire.codec import encode
from tests.services.rounds.owners import Owner, Reply, owner
from tests.services.rounds.stored import client_of, told

MODEL = encode({"w": np.ones(3, np.float32)})
GIVES: Reply = (200, MODEL)
BROKEN: Reply = (500, b"")
AWAY = httpx2.ConnectError("refused")


def asked(value: Owner) -> list[str]:
    return [name for _, name, path in value.agents.calls if path == "/model"]


async def fetch(value: Owner, names: Sequence[str], lease: Lease | None = None) -> str:
    these: InitialModels = value.engine._selecting._initial_models
    clients = tuple([await client_of(value.system.db, name) for name in value.agents.replies])
    fleet = Fleet(clients, clients, (), frozenset(), Connectivity.empty(sorted(value.agents.replies)))
    chosen = tuple(Chosen(name, 1.0, {}, 0.0) for name in names)
    plan = Plan("star", dict.fromkeys(names))
    selection = Selection("random", chosen, (), 0.0, None, 1.0, 0.0, plan)
    config = TrainingConfig(name="t")
    return await these.fetch(value.lease if lease is None else lease, config, value.round_, fleet, selection)


async def test_the_first_selected_client_that_gives_a_model_is_the_last_one_asked(
    database_url: str, tmp_path: Path
) -> None:
    replies = {"a": GIVES, "b": BROKEN, "c": GIVES}
    async with owner(tmp_path, database_url, dict.fromkeys(replies, "pending"), replies) as value:
        model = await fetch(value, ["b", "c", "a"])
        assert asked(value) == ["b", "c"]
        stored = await value.system.models.get("t", 0)
        assert (stored.version.sha256, stored.path.read_bytes()) == (model, MODEL)
        assert (await value.system.trainings.get("t")).model == model
        assert await value.failures("b") == ["the agent answered GET /model with 500"]
        assert await value.failures("c") == []
        assert "training.model_fetched" in [event.type for event in await told(value.system.db)]


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (
            {"a": BROKEN, "b": AWAY, "c": BROKEN, "d": GIVES},  # three are asked at most
            "no initial model: client 'a': the agent answered GET /model with 500; client 'b': ",
        ),
        ({}, "no initial model: no client was selected"),
    ],
)
async def test_a_fetch_without_a_model_says_why(
    database_url: str, tmp_path: Path, replies: Mapping[str, Reply], reason: str
) -> None:
    async with owner(tmp_path, database_url, dict.fromkeys(replies, "pending"), replies) as value:
        with pytest.raises(AgentFailed) as caught:
            await fetch(value, list(replies))
        assert str(caught.value).startswith(reason)
        assert asked(value) == list("abc"[: len(replies)])
        assert (await value.system.trainings.get("t")).model is None


async def test_clients_that_cannot_be_reached_may_be_waited_for(database_url: str, tmp_path: Path) -> None:
    replies = {"a": AWAY, "b": AWAY}
    async with owner(tmp_path, database_url, dict.fromkeys(replies, "pending"), replies) as value:
        with pytest.raises(ClientsAway) as caught:
            await fetch(value, ["a", "b"])
        assert str(caught.value).startswith("no initial model: client 'a': ")
        assert caught.value.out == (("a", "it cannot be reached"), ("b", "it cannot be reached"))
        assert {(await client_of(value.system.db, name)).status for name in replies} == {"suspect"}


async def test_a_process_without_the_lease_stores_no_model(database_url: str, tmp_path: Path) -> None:
    async with owner(tmp_path, database_url, {"a": "pending"}, {"a": GIVES}) as value:
        with pytest.raises(Fenced):
            await fetch(value, ["a"], Lease("t", "late", value.lease.fence - 1))
        assert (await value.system.trainings.get("t")).model is None
