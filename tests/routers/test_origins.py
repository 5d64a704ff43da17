"""Each event says who acted and in which request, whatever way the call took."""

from dataclasses import replace
from pathlib import Path

import httpx2

from app.store.events import RecordedEvent
from tests.api import Api, profile, running_api
from tests.planes import until

Origin = tuple[str, str | None, str | None]


async def events_of(api: Api) -> list[RecordedEvent]:
    return (await api.system.feed.page(after=0, limit=100)).items


async def last_origin(api: Api, response: httpx2.Response) -> Origin:
    """The type, the actor, and the request of the newest event; the request's id where it is that of the answer."""
    assert response.status_code < 300, response.text
    event = (await events_of(api))[-1]
    assert event.request_id == response.headers["X-Request-ID"]
    return event.type, event.actor, event.request_id


async def test_what_a_caller_asks_for_comes_from_its_key_and_names_the_request(api: Api) -> None:
    told = {"X-Request-ID": "ticket-7"}
    response = await api.http.post("/v1/trainings", json={"name": "digits"}, headers=told)
    assert await last_origin(api, response) == ("training.created", "admin key", "ticket-7")
    path = f"/v1/trainings/{response.json()['id']}"
    for verb, kind in (("start", "started"), ("pause", "paused"), ("resume", "resumed"), ("cancel", "cancelled")):
        origin = await last_origin(api, await api.http.post(f"{path}/{verb}", headers=told))
        assert origin == (f"training.{kind}", "admin key", "ticket-7")
    response = await api.http.post("/v1/clients/batch", json={"clients": [profile(id="a"), profile(id="b")]})
    assert (await last_origin(api, response))[:2] == ("clients.registered", "admin key")
    response = await api.http.post("/v1/clients/a/breaker/open", headers={"X-Request-ID": "not well\tformed"})
    kind, actor, request_id = await last_origin(api, response)
    assert (kind, actor) == ("breaker.open", "admin key")
    assert request_id != "not well\tformed"


async def test_a_round_that_is_asked_for_is_named_in_its_event(api: Api) -> None:
    training_id = await api.create_training()
    response = await api.http.post(f"/v1/trainings/{training_id}/rounds")
    assert response.status_code < 300
    (asked,) = [event for event in await events_of(api) if event.type == "training.round_requested"]
    assert (asked.round, asked.data, asked.actor) == (1, {"was": "created"}, "admin key")


async def test_an_agent_is_told_apart_from_a_caller_that_registers_it(api: Api) -> None:
    response = await api.http.put("/v1/clients/a", json=profile())
    assert (await last_origin(api, response))[:2] == ("client.registered", "admin key")
    response = await api.http.put("/v1/clients/b", json=profile(instance="one"))
    assert (await last_origin(api, response))[:2] == ("client.registered", "agent")
    response = await api.http.put("/v1/clients/a", json=profile(instance="two"))
    assert (await last_origin(api, response))[:2] == ("client.updated", "agent")
    response = await api.http.post("/v1/clients", json=profile(id="c", instance="three"))
    assert (await last_origin(api, response))[:2] == ("client.registered", "agent")
    async with api.system.db.begin() as tx:
        (client,) = await tx.clients.lock(["c"])
        await tx.clients.put(replace(client, status="down"))
    response = await api.http.post("/v1/clients/c/heartbeat", json={})
    assert (await last_origin(api, response))[:2] == ("client.healthy", "agent")


async def test_without_keys_a_caller_is_one_on_this_machine(database_url: str, tmp_path: Path) -> None:
    async with running_api(tmp_path, database_url, auth={"enabled": False}) as api:
        response = await api.anonymous.post("/v1/trainings", json={"name": "digits"})
        assert (await last_origin(api, response))[:2] == ("training.created", "local caller")


async def test_what_the_server_does_by_itself_has_its_name_and_no_request(database_url: str, tmp_path: Path) -> None:
    async with running_api(tmp_path, database_url, coordinator={"tick_seconds": 0.01}) as api:
        training_id = await api.create_training()
        assert (await api.http.post(f"/v1/trainings/{training_id}/rounds")).status_code < 300

        async def has_acted() -> bool:
            return any(event.actor != "admin key" for event in await events_of(api))

        await until(has_acted)
        told = await events_of(api)
        asked = {event.type for event in told if event.actor == "admin key"}
        assert asked == {"training.created", "training.round_requested", "round.started"}
        assert {(event.actor, event.request_id) for event in told if event.type not in asked} == {
            (api.system.name, None)
        }
