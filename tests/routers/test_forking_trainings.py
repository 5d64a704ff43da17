"""``POST /v1/trainings`` with ``from``: a training that starts from a version of another one."""

from typing import Any

import pytest

from tcsfeel.contract.training_changes import ForkTraining
from tcsfeel.contract.trainings import CreateTraining
from tests.api import Api, assert_problem
from tests.routers.samples import MODEL
from tests.routers.test_changing_trainings import made


async def uploaded(api: Api, **fields: Any) -> dict[str, Any]:
    """A training with an initial model."""
    training = await made(api, **fields)
    await api.http.put(f"/v1/trainings/{training['id']}/model", content=MODEL)
    shown: dict[str, Any] = (await api.http.get(f"/v1/trainings/{training['id']}")).json()
    return shown


async def forked(api: Api, source: str, fields: dict[str, Any], **start: Any) -> Any:
    return await api.http.post("/v1/trainings", json={"from": {"training": source} | start} | fields)


async def test_a_fork_has_everything_that_the_body_does_not_give(api: Api) -> None:
    source = await uploaded(api)
    changes = {"name": "slower", "hyperparameters": {"learning_rate": 0.25}, "aggregation": "median", "seed": 7}
    answer = await forked(api, source["id"], changes)
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    own = {name: shown[name] for name in ("id", "created_at", "updated_at")}
    origin = {"training": source["id"], "round": 0, "model": source["model"], "optimiser": False}
    hyperparameters = source["hyperparameters"] | {"learning_rate": 0.25}
    assert shown == source | changes | own | {"hyperparameters": hyperparameters, "origin": origin}
    assert (source["origin"], shown["id"] != source["id"]) == (None, True)
    assert answer.headers["Location"] == f"/v1/trainings/{shown['id']}"
    assert (await api.http.get(f"/v1/trainings/{shown['id']}/model")).content == MODEL
    async with api.system.db.read() as tx:
        (told,) = (await tx.events.after(0, training_id=shown["id"], limit=100)).items
    assert (told.type, told.data) == (
        "training.created",
        {"name": "slower", "origin": source["id"], "origin_round": 0},
    )


def test_every_field_of_a_new_training_can_be_changed_in_a_fork() -> None:
    own = {"recipe"}  # a fork has the fields that the recipe of the other training gave it
    assert (CreateTraining.model_fields.keys() - own) | {"from_"} == ForkTraining.model_fields.keys()


@pytest.mark.parametrize(
    ("start", "fields", "pointer"),
    [
        ({"training": "nobody"}, {}, "/from/training"),
        ({"training": "a b"}, {}, "/from/training"),
        ({"round": 3}, {}, "/from/round"),
        ({"round": -1}, {}, "/from/round"),
        ({"round": "last"}, {}, "/from/round"),
        ({"best": True}, {}, "/from/best"),
        ({}, {"max_rounds": 0}, "/max_rounds"),
        ({}, {"name": None}, "/name"),
        ({}, {"selection": {"strategy": "unknown"}}, "/selection/strategy"),
        ({}, {"origin": {}}, "/origin"),
        ({"optimiser": True}, {"aggregation": "fedadam"}, "/from/optimiser"),
        ({"optimiser": True}, {"statistics": ["x"]}, "/from/optimiser"),
    ],
)
async def test_a_fork_that_cannot_be_is_refused_and_nothing_is_stored(
    sqlite_api: Api, start: dict[str, Any], fields: dict[str, Any], pointer: str
) -> None:
    source = await uploaded(sqlite_api)
    before = await sqlite_api.stored()
    body = {"from": {"training": source["id"]} | start} | fields
    assert_problem(await sqlite_api.http.post("/v1/trainings", json=body), 422, pointer)
    assert await sqlite_api.stored() == before


@pytest.mark.parametrize("fields", [{}, {"aggregation": "scaffold"}, {"aggregation": "fedavg"}])
async def test_control_variates_are_not_taken_over(sqlite_api: Api, fields: dict[str, Any]) -> None:
    source = await uploaded(sqlite_api, aggregation="scaffold")
    before = await sqlite_api.stored()
    refused = await forked(sqlite_api, source["id"], fields, optimiser=True)
    problem = assert_problem(refused, 422, "/from/optimiser")
    other = fields.get("aggregation") == "fedavg"
    assert ("aggregation or statistics are other ones" if other else "control variates") in problem["detail"]
    assert await sqlite_api.stored() == before
    assert (await forked(sqlite_api, source["id"], fields)).status_code == 201


async def test_a_training_without_a_model_is_no_start(sqlite_api: Api) -> None:
    source = await made(sqlite_api)
    problem = assert_problem(await forked(sqlite_api, source["id"], {}), 422, "/from/training")
    assert "should have made a model" in problem["detail"]


async def test_a_repeat_with_the_same_key_makes_one_fork(api: Api) -> None:
    source = await uploaded(api)
    body, key = {"from": {"training": source["id"]}}, {"Idempotency-Key": "fork"}
    first = await api.http.post("/v1/trainings", json=body, headers=key)
    again = await api.http.post("/v1/trainings", json=body, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())


async def test_a_fork_keeps_the_model_that_it_starts_from(sqlite_api: Api) -> None:
    shown = (await forked(sqlite_api, (await uploaded(sqlite_api))["id"], {})).json()
    problem = assert_problem(await sqlite_api.http.put(f"/v1/trainings/{shown['id']}/model", content=MODEL), 409)
    assert "started from another one's version" in problem["detail"]
