"""``Prefer: wait``: holding an answer until a round has ended."""

from contextlib import ExitStack
from typing import Any

import pytest

from app.settings import LimitSettings
from tests.api import AUTHORIZED, Api, assert_problem
from tests.routers.samples import end


async def test_wait_answers_200_with_the_finished_round(api: Api) -> None:
    training_id = await api.create_training()
    api.clock.meanwhile = lambda: end(api, training_id, 1)
    headers = {"Prefer": "respond-async, wait=60"}
    response = await api.http.post(f"/v1/trainings/{training_id}/rounds", headers=headers)
    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == "wait=60"
    assert response.headers["Location"] == f"/v1/trainings/{training_id}/rounds/1"
    assert (response.json()["status"], response.json()["average_accuracy"]) == ("completed", 0.75)


async def test_wait_answers_202_when_the_time_is_over(api: Api) -> None:
    training_id = await api.create_training()
    began = api.clock.now()
    response = await api.http.post(f"/v1/trainings/{training_id}/rounds", headers={"Prefer": "wait=2"})
    assert (response.status_code, response.headers["Preference-Applied"]) == (202, "wait=2")
    assert response.json()["status"] == "selecting"
    assert 2 <= api.clock.now() - began < 2.1


async def test_a_wait_ends_with_its_caller(api: Api) -> None:
    training_id = await api.create_training()
    began, answers = api.clock.now(), []

    async def hang_up() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answers.append(message)

    path = f"/v1/trainings/{training_id}/rounds"
    headers = [(b"authorization", AUTHORIZED["Authorization"].encode()), (b"prefer", b"wait=600")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    await api.app(scope | {"http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 5)}, hang_up, send)
    assert answers[0]["status"] == 400  # for the log: nobody reads it
    assert api.clock.now() - began < 60
    assert (await api.http.get(f"{path}/1")).json()["status"] == "selecting"  # it goes on


@pytest.mark.parametrize("action", ["pause", "cancel"])
async def test_a_training_that_its_user_stops_ends_the_waits_for_its_round(api: Api, action: str) -> None:
    training_id = await api.create_training()

    async def stop() -> None:
        api.clock.meanwhile = None
        assert (await api.http.post(f"/v1/trainings/{training_id}/{action}")).is_success

    api.clock.meanwhile = stop
    began = api.clock.now()
    response = await api.http.post(f"/v1/trainings/{training_id}/rounds", headers={"Prefer": "wait=600"})
    assert api.clock.now() - began < 1
    ended = {"pause": (202, "selecting"), "cancel": (200, "abandoned")}
    assert (response.status_code, response.json()["status"]) == ended[action]


async def test_a_wait_without_a_place_is_refused_before_its_round_begins(sqlite_api: Api) -> None:
    training_id = await sqlite_api.create_training()
    path = f"/v1/trainings/{training_id}/rounds"
    with ExitStack() as held:
        for _ in range(LimitSettings().waits):
            held.enter_context(sqlite_api.system.waits.place("127.0.0.1"))
        refused = await sqlite_api.http.post(path, headers={"Prefer": "wait=5"})
        body = assert_problem(refused, 503)
        assert (body["type"], refused.headers["Retry-After"]) == ("urn:tcsfeel:problem:crowded", "5")
        assert body["detail"].startswith(
            "too many calls of this caller are waiting for rounds at this server: at most 256 can"
        )
        assert (await sqlite_api.http.get(path)).json()["items"] == []
        assert (await sqlite_api.http.post(path)).status_code == 202  # without a wait it needs no place


@pytest.mark.parametrize("prefer", ["", "respond-async", "wait=", "wait=-1", "wait=1.5", "waiting=5", "wait=x"])
async def test_a_preference_that_says_nothing_of_waiting_is_ignored(sqlite_api: Api, prefer: str) -> None:
    training_id = await sqlite_api.create_training()
    response = await sqlite_api.http.post(f"/v1/trainings/{training_id}/rounds", headers={"Prefer": prefer})
    assert response.status_code == 202
    assert "Preference-Applied" not in response.headers


async def test_nobody_waits_longer_than_ten_minutes(sqlite_api: Api) -> None:
    async def almost_over() -> None:
        sqlite_api.clock.meanwhile = None
        sqlite_api.clock.advance(599.9)

    training_id = await sqlite_api.create_training()
    began = sqlite_api.clock.now()
    sqlite_api.clock.meanwhile = almost_over
    headers = {"Prefer": "wait=999999"}
    response = await sqlite_api.http.post(f"/v1/trainings/{training_id}/rounds", headers=headers)
    assert response.headers["Preference-Applied"] == "wait=600"
    assert 600 <= sqlite_api.clock.now() - began < 600.1
