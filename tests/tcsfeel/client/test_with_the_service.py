"""The client against the service itself, over ASGI: every noun, on each kind of database."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tcsfeel.audit import Chain
from tcsfeel.client import AsyncClient, Conflict, Invalid, NotDone, NotFound, Progress, Unauthenticated
from tcsfeel.contract.clients import RegisterClient
from tests.api import KEY, Api, running_api


def client_of(api: Api, key: str | None = KEY) -> AsyncClient:
    return AsyncClient("http://127.0.0.1:8080", key, transport=httpx2.ASGITransport(api.app))


@pytest.fixture
async def client(tmp_path: Path, database_url: str) -> AsyncIterator[AsyncClient]:
    async with running_api(tmp_path / "data", database_url) as api, client_of(api) as client:
        yield client


PROFILE: dict[str, Any] = {
    "url": "http://10.0.0.7:9000",
    "data_size": 100,
    "compute_capacity": 5.0,
    "bandwidth": 40.0,
    "latency": 25.0,
}


async def test_clients_from_their_registration_to_their_end(client: AsyncClient) -> None:
    registered = await client.register_client(id="edge-0", auth_token="secret", **PROFILE)
    assert (registered.id, registered.status, registered.bandwidth) == ("edge-0", "healthy", 40.0)
    batch = await client.register_clients(
        clients=[RegisterClient(id="edge-1", tags={"site": "north"}, **PROFILE), {"id": "edge-2"} | PROFILE]
    )
    assert [one.id for one in batch.items] == ["edge-1", "edge-2"]
    assert (await client.put_client("edge-2", **PROFILE | {"latency": 5.0})).latency == 5.0
    assert (await client.change_client("edge-2", bandwidth=8.0)).bandwidth == 8.0
    await client.heartbeat("edge-2", latency=np.float64(6.0))
    await client.heartbeat("edge-2")
    assert (await client.get_client("edge-2")).measured.latency == 6.0
    assert [one.id async for one in client.clients()] == ["edge-0", "edge-1", "edge-2"]
    assert [one.id async for one in client.clients(status="healthy", tags=["site:north"])] == ["edge-1"]
    assert (await client.list_clients(limit=2)).next_cursor is not None
    assert (await client.report_outcome("edge-2", success=True, seconds=2.5)).measured.train_seconds == 2.5
    reported = [one.id async for one in client.clients(healthy=True, breaker="closed")]
    assert "edge-2" in reported
    assert (await client.open_breaker("edge-2")).state == "open"
    assert (await client.get_breaker("edge-2")).retry_at is None
    assert (await client.reset_breaker("edge-2")).state == "closed"
    await client.remove_client("edge-2")
    with pytest.raises(NotFound):
        await client.remove_client("edge-2")
    with pytest.raises(Conflict) as taken:
        await client.register_client(id="edge-0", **PROFILE)
    assert taken.value.kind == "already-exists"


async def test_a_token_reaches_the_service_and_not_only_its_stars(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url) as api, client_of(api) as client:
        await client.register_client(RegisterClient(id="edge-0", auth_token="secret", **PROFILE))
        stored = (await api.system.clients.get("edge-0")).profile.auth_token
        assert stored is not None
        assert api.system.secret.decrypt(stored) == "secret"


async def test_whose_key_the_client_uses(client: AsyncClient) -> None:
    found = await client.get_caller()
    assert (found.name, found.role, found.key_id) == ("admin key", "admin", None)


async def test_webhooks_from_their_making_to_their_end(client: AsyncClient) -> None:
    made = await client.create_webhook(url="http://a/hook", types=["round.completed"])
    assert made.secret.startswith("whsec_")
    assert [one.id async for one in client.webhooks()] == [made.id]
    assert (await client.list_webhooks()).items[0].url == "http://a/hook"
    assert not (await client.change_webhook(made.id, enabled=False)).enabled
    assert (await client.get_webhook(made.id)).types == ["round.completed"]
    assert [one async for one in client.dead_letters(made.id)] == []
    assert (await client.list_dead_letters(made.id, limit=1)).next_cursor is None
    assert (await client.redeliver_events(made.id)).redelivered == 0
    assert (await client.redeliver_events(made.id, event_ids=[7])).redelivered == 0
    await client.remove_webhook(made.id)
    with pytest.raises(NotFound):
        await client.get_webhook(made.id)


async def test_the_audit_trail(client: AsyncClient) -> None:
    await client.register_client(id="edge-0", **PROFILE)
    await client.remove_client("edge-0")
    head = await client.get_audit_head()
    chain = Chain()
    records = [record async for record in client.audit_records()]
    for record in records:
        chain.check(record.model_dump(mode="json"))
    assert (chain.last, chain.head) == (head.sequence, head.hash)
    assert [record.operation for record in records[-2:]] == ["POST /v1/clients", "DELETE /v1/clients/{client_id}"]
    page = await client.list_audit_records(operation="POST /v1/clients", result="done", since=records[0].at, limit=1)
    assert page.items == [records[-2]]
    assert [record async for record in client.audit_records(until=records[0].at)] == []


async def test_links_and_selections(client: AsyncClient) -> None:
    for number in range(3):
        await client.put_client(f"edge-{number}", **PROFILE)
    costs = np.array([[0, 0.5], [0.5, 0]])
    assert (await client.replace_connectivity(client_ids=["edge-0", "edge-1"], costs=costs)).version == 1
    changed = await client.change_connectivity(edges=[{"source": "edge-0", "target": "edge-2", "cost": 0.25}])
    assert changed.version == 2
    matrix = await client.get_connectivity()
    assert matrix is not None
    assert (matrix.version, matrix.costs[0]) == (2, [0, 0.5, 0.25])
    assert await client.get_connectivity(known_version=2) is None
    assert (await client.get_topology()).num_edges == 2
    assert "tcs-feel" in {strategy.name for strategy in (await client.list_strategies()).items}
    planned = await client.plan_selection(min_clients=2, max_clients=2, exclude=["edge-0"])
    assert {chosen.client_id for chosen in planned.selected} == {"edge-1", "edge-2"}


async def test_trainings_their_models_and_their_rounds(client: AsyncClient, tmp_path: Path) -> None:
    training = await client.create_training(name="digits", selection={"min_clients": 1}, hyperparameters={"mine": 7})
    assert (training.status, training.hyperparameters["mine"]) == ("created", 7)
    same = [await client.create_training(name="one", idempotency_key="key") for _ in range(2)]
    assert same[0].id == same[1].id
    assert {one.id async for one in client.trainings()} == {same[0].id, training.id}
    parameters = {"w": np.arange(4, dtype=np.float32)}
    version = await client.upload_model(training.id, parameters)
    assert version.round == 0
    np.testing.assert_array_equal((await client.download_model(training.id))["w"], parameters["w"])
    file = await client.save_model(training.id, tmp_path / "model.safetensors", after_round=0)
    assert (await client.upload_model(training.id, file)).sha256 == version.sha256
    await client.pin_model(training.id, 0)
    assert [model.pinned async for model in client.models(training.id)] == [True]
    await client.unpin_model(training.id, 0)
    assert (await client.list_models(training.id)).items[0].pinned is False
    assert (await client.start_training(training.id)).status == "running"
    assert (await client.pause_training(training.id)).status == "paused"
    later = await client.change_training(training.id, round_policy={"deadline_seconds": 90}, max_rounds=7)
    assert (later.round_policy.deadline_seconds, later.max_rounds) == (90.0, 7)
    assert later.round_policy.quorum == training.round_policy.quorum
    assert (await client.resume_training(training.id)).status == "running"
    found = [one.number async for one in client.rounds(training.id)]
    assert found == [one.number for one in (await client.list_rounds(training.id)).items]
    with pytest.raises(NotFound):
        await client.get_round(training.id, 99)
    with pytest.raises(NotFound):
        await client.get_round_selection(training.id, 99)
    seen: list[Progress] = []
    with pytest.raises(NotDone, match=f"the training {training.id} has not ended after 0 s: it is running"):
        await client.wait(training.id, progress=seen.append, timeout_seconds=0)
    assert [progress.training.status for progress in seen] == ["running"]
    assert (await client.cancel_training(training.id)).status == "cancelled"
    assert (await client.wait(training.id)).status == "cancelled"


async def test_a_round_that_is_not_waited_for_comes_as_it_is(client: AsyncClient) -> None:
    training = await client.create_training(name="digits")
    ordered = await client.run_round(training.id, wait_seconds=0, idempotency_key="k")
    assert (ordered.number, ordered.status, ordered.ended_at) == (1, "selecting", None)
    assert (await client.run_round(training.id, wait_seconds=0, idempotency_key="k")).number == 1


async def test_operations_need_no_key(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url) as api, client_of(api, None) as client:
        assert (await client.healthz()).status == "ok"
        assert (await client.readyz()).status in {"ready", "not ready"}
        assert "federated_rounds_total" in await client.metrics()
        with pytest.raises(Unauthenticated) as refused:
            await client.get_topology()
        assert refused.value.kind == "unauthenticated"


async def test_what_only_the_service_can_refuse_comes_with_its_pointers(client: AsyncClient) -> None:
    with pytest.raises(Invalid) as refused:
        await client.create_training(name="x", selection={"strategy": "fedcs", "parameters": {"speed": 1.0}})
    assert [field.pointer for field in refused.value.errors] == ["/selection/parameters/speed"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x", "selection": {"min_clients": 0}, "colour": "red"},
        {"name": "x", "goal": 1, "max_rounds": 0, "seed": "1", "evaluation": {"tags": {"a/b": 7, "x" * 257: "y"}}},
        {"name": "x", "hyperparameters": {"a": [1]}, "selection": [], "target_accuracy": 2},
    ],
)
async def test_a_client_finds_the_same_mistakes_in_the_same_words_as_the_service(
    tmp_path: Path, sqlite_url: str, body: dict[str, Any]
) -> None:
    async with running_api(tmp_path / "data", sqlite_url) as api, client_of(api) as client:
        answer = (await api.http.post("/v1/trainings", json=body)).json()
        with pytest.raises(Invalid) as refused:
            await client.create_training(**body)
    assert refused.value.detail == answer["detail"]
    assert [(field.pointer, field.detail) for field in refused.value.errors] == [
        (field["pointer"], field["detail"]) for field in answer["errors"]
    ]


async def test_keys_from_their_making_to_their_end(client: AsyncClient) -> None:
    made = await client.create_key(name="ci", role="operator", lifetime_seconds=3600)
    assert made.key.startswith(f"tcsfeel_operator_{made.id}_")
    rotated = await client.rotate_key(made.id, grace_seconds=60)
    assert rotated.replaces == made.id
    assert (await client.rotate_key(rotated.id)).replaces == rotated.id
    await client.revoke_key(made.id)
    assert (await client.get_key(made.id)).state == "revoked"
    valid = await client.list_keys(state="valid", role="operator", limit=1)
    assert [(key.name, key.state) for key in valid.items] == [("ci", "valid")]
    assert valid.next_cursor is not None
    assert len([key async for key in client.api_keys()]) == 3
    with pytest.raises(NotFound):
        await client.revoke_key("0" * 12)


async def test_events_are_read_page_by_page(client: AsyncClient) -> None:
    for number in range(3):
        await client.register_client(id=f"edge-{number}", **PROFILE)
    found = [event async for event in client.events(types=["client.registered", "clients.registered"])]
    assert [event.id for event in found] == [1, 2, 3]
    assert [event.id async for event in client.events(after=found[1].id)] == [3]
    page = await client.list_events(client="edge-1", limit=1)
    assert [event.client_id for event in page.items] == ["edge-1"]
    assert (await client.list_events(after=page.cursor, training="none")).items == []
