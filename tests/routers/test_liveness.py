"""Heartbeats and breakers over HTTP."""

from dataclasses import replace

import pytest

from app.domain.breaker import Breaker
from app.domain.failures import Failure
from tests.api import NOW, Api, assert_problem

PROFILE = {"data_size": 10, "compute_capacity": 1.0, "bandwidth": 8.0, "latency": 5.0}


async def test_a_heartbeat_is_a_sign_of_life_with_measurements(api: Api) -> None:
    await api.register("edge-7")
    async with api.system.db.begin() as tx:
        await tx.clients.put(replace(await tx.clients.get("edge-7"), status="down"))
    response = await api.http.post("/v1/clients/edge-7/heartbeat", json={"bandwidth": 10.0, "latency": 5.0})
    assert (response.status_code, response.content) == (204, b"")
    client = (await api.http.get("/v1/clients/edge-7")).json()
    assert (client["status"], client["last_seen_at"]) == ("healthy", NOW)
    assert (client["measured"]["bandwidth"], client["measured"]["latency"]) == (10.0, 5.0)
    await api.http.post("/v1/clients/edge-7/heartbeat", json={"bandwidth": 20.0})
    measured = (await api.http.get("/v1/clients/edge-7")).json()["measured"]
    assert measured["bandwidth"] == pytest.approx(10 + 0.3 * (20 - 10))
    assert measured["latency"] == 5.0


@pytest.mark.parametrize("body", [b"", b"{}", b"null"])
async def test_a_heartbeat_needs_nothing_to_say(sqlite_api: Api, body: bytes) -> None:
    await sqlite_api.register("edge-7")
    headers = {"Content-Type": "application/json"} if body else {}
    response = await sqlite_api.http.post("/v1/clients/edge-7/heartbeat", content=body, headers=headers)
    assert response.status_code == 204
    assert (await sqlite_api.http.get("/v1/clients/edge-7")).json()["last_seen_at"] == NOW


async def test_a_breaker_is_opened_and_reset_by_hand(api: Api) -> None:
    await api.register("edge-7")
    closed = {
        "state": "closed",
        "consecutive_failures": 0,
        "openings": 0,
        "opened_at": None,
        "retry_at": None,
        "probe_until": None,
        "last_failure_at": None,
        "last_failures": [],
        "cause": None,
    }
    assert (await api.http.get("/v1/clients/edge-7/breaker")).json() == closed
    opened = await api.http.post("/v1/clients/edge-7/breaker/open")
    assert opened.status_code == 200
    assert opened.json() == closed | {"state": "open", "opened_at": NOW, "cause": "isolated by hand"}
    assert (await api.http.get("/v1/clients/edge-7")).json()["breaker"] == "open"
    reset = await api.http.post("/v1/clients/edge-7/breaker/reset")
    assert (reset.status_code, reset.json()) == (200, closed)
    assert (await api.http.get("/v1/clients/edge-7/breaker")).json() == closed


async def test_a_breaker_names_its_last_failures(api: Api) -> None:
    await api.register("edge-7")
    failures = (
        Failure(phase="evaluate", training_id="t", round=3, reason="answered 500: out of memory", at=api.clock.now()),
        Failure(
            phase="initial model",
            reason="the agent did not answer in time",
            at=api.clock.now(),
            kind="unreachable",
        ),
    )
    async with api.system.db.begin() as tx:
        client = await tx.clients.get("edge-7")
        await tx.clients.put(replace(client, breaker=Breaker(last_failures=failures)))
    told = {"at": NOW, "phase": "evaluate", "training_id": "t", "round": 3, "reason": "answered 500: out of memory"}
    assert (await api.http.get("/v1/clients/edge-7/breaker")).json()["last_failures"] == [
        told | {"kind": "faulty"},
        {
            "kind": "unreachable",
            "at": NOW,
            "phase": "initial model",
            "training_id": None,
            "round": None,
            "reason": "the agent did not answer in time",
        },
    ]


async def test_a_client_shows_how_often_it_could_not_be_reached_and_was_wrong(api: Api) -> None:
    await api.register("edge-7")
    none = {"unreachable": 0, "faulty": 0, "last_unreachable": None, "last_faulty": None, "wrong_evaluations": 0}
    assert (await api.http.get("/v1/clients/edge-7")).json()["failures"] == none
    wrong = Failure(phase="evaluate", training_id="t", round=3, reason="loss is nan")
    away = Failure(phase="fit", training_id="t", round=4, reason="no connection to the agent", kind="unreachable")
    for failure in (wrong, wrong, away):
        await api.system.breakers.fail("edge-7", failure)
    async with api.system.db.begin() as tx:
        client = await tx.clients.get("edge-7", for_update=True, labels=False)
        await tx.clients.put(
            replace(client, failures=client.failures.evaluated_wrongly())
        )  # the tries of one evaluation
    shown = (await api.http.get("/v1/clients/edge-7")).json()["failures"]
    told = {"at": NOW, "training_id": "t"}
    assert shown == {
        "unreachable": 1,
        "faulty": 2,
        "last_unreachable": told
        | {"phase": "fit", "round": 4, "reason": "no connection to the agent", "kind": "unreachable"},
        "last_faulty": told | {"phase": "evaluate", "round": 3, "reason": "loss is nan", "kind": "faulty"},
        "wrong_evaluations": 1,
    }


async def test_two_devices_with_one_id_are_a_conflict_that_operators_see(api: Api) -> None:
    first = PROFILE | {"url": "http://10.0.0.7:9000", "instance": "one"}
    second = PROFILE | {"url": "http://10.0.0.8:9000", "instance": "two"}
    for body in (first, second):
        answer = await api.http.put("/v1/clients/edge-7", json=body)
        assert answer.is_success
        assert answer.json()["conflict"] is None
    for instance in ("one", "two", "one"):
        beat = await api.http.post("/v1/clients/edge-7/heartbeat", json={"instance": instance})
        assert beat.status_code == 204
    client = (await api.http.get("/v1/clients/edge-7")).json()
    urls, instances = ["http://10.0.0.7:9000", "http://10.0.0.8:9000"], ["one", "two"]
    assert client["conflict"] == {"since": NOW, "last_at": NOW, "urls": urls, "instances": instances}
    assert client["url"] == "http://10.0.0.8:9000"  # nothing acts on it
    assert client["status"] == "healthy"
    async with api.system.db.read() as tx:
        events = (await tx.events.after(0, limit=100)).items
    told = [event.data for event in events if event.type == "client.identity_conflict"]
    assert told == [{"urls": urls, "instances": instances}]
    assert api.system.metrics.registry.get_sample_value("federated_identity_conflicts_total") == 1


async def test_agents_without_instances_are_in_conflict_where_they_register_in_turn(sqlite_api: Api) -> None:
    conflicts = []
    for port in (9000, 9001, 9000):
        body = PROFILE | {"url": f"http://10.0.0.7:{port}"}
        conflicts.append((await sqlite_api.http.put("/v1/clients/edge-7", json=body)).json()["conflict"])
    assert conflicts[:2] == [None, None]
    assert conflicts[2]["urls"] == ["http://10.0.0.7:9000", "http://10.0.0.7:9001"]


async def test_an_instance_is_a_short_name(sqlite_api: Api) -> None:
    await sqlite_api.register("edge-7")
    for instance in ("", "a b", "x" * 65, "a\0", 7):
        beat = await sqlite_api.http.post("/v1/clients/edge-7/heartbeat", json={"instance": instance})
        assert_problem(beat, 422, "/instance")
