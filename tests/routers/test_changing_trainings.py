"""``PATCH /v1/trainings/{id}``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api, assert_problem
from tests.planes import Adder, plane

CREATED: dict[str, Any] = {
    "name": "digits",
    "max_rounds": 9,
    "selection": {
        "strategy": "fedcs",
        "max_clients": 20,
        "weights": {"compute": 3.0},
        "parameters": {"pool_factor": 3},
    },
    "hyperparameters": {"learning_rate": 0.5, "momentum": 0.9},
    "round_policy": {"deadline_seconds": 60, "quorum": 0.5},
    "evaluation": {"clients": 5, "tags": {"site": "north", "trusted": "yes"}},
    "retention": {"keep_last": 3},
}


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    training: dict[str, Any] = (await api.http.post("/v1/trainings", json=CREATED | fields)).json()
    return training


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({}, {}),
        ({"name": "x", "max_rounds": 20}, {"name": "x", "max_rounds": 20}),
        ({"round_policy": {"deadline_seconds": 5.5}}, {"round_policy": {"deadline_seconds": 5.5}}),
        ({"round_policy": {"quorum": None}}, {"round_policy": {"quorum": 0.6}}),
        (
            {"hyperparameters": {"learning_rate": 0.25, "momentum": None, "steps": 7}},
            {"hyperparameters": {"learning_rate": 0.25, "local_epochs": 1, "batch_size": 32, "steps": 7}},
        ),
        ({"selection": {"weights": {"fairness": 2}}}, {"selection": {"weights": {"fairness": 2.0}}}),
        (
            {"selection": {"strategy": "random", "parameters": None}},
            {"selection": {"strategy": "random", "parameters": {}}},
        ),
        (
            {"evaluation": {"tags": {"site": None, "lab": "b"}}},
            {"evaluation": {"tags": {"trusted": "yes", "lab": "b"}}},
        ),
        ({"where": {"exclude": ["b"], "tags": {"x": "y"}}}, {"where": {"exclude": ["b"], "tags": {"x": "y"}}}),
        ({"retention": None}, {"retention": None}),
        ({"retention": {"keep_best": False}}, {"retention": {"keep_last": 3, "keep_best": False}}),
        ({"target_accuracy": 0.5}, {"target_accuracy": 0.5, "goal": {"target": 0.5}}),
        ({"goal": {"patience": 4}}, {"goal": {"patience": 4}}),
        (
            {"parameters": {"local": ["bn*"], "averaged": ["*.ema"]}},
            {"parameters": {"averaged": ["*.ema"], "local": ["bn*"], "frozen": []}, "statistics": ["*.ema"]},
        ),
        ({"uploads": {"encoding": "int8"}}, {"uploads": {"encoding": "int8", "compression": "none"}}),
    ],
)
async def test_only_what_is_named_changes(api: Api, patch: dict[str, Any], changed: dict[str, Any]) -> None:
    before = await made(api)
    answer = await api.http.patch(f"/v1/trainings/{before['id']}", json=patch)
    assert answer.status_code == 200, answer.text
    replaced = {"hyperparameters", "tags", "parameters"}

    def merged(known: Any, new: Any, name: str = "") -> Any:
        if not isinstance(new, dict) or not isinstance(known, dict) or name in replaced:
            return new
        return known | {key: merged(known.get(key), entry, key) for key, entry in new.items()}

    assert answer.json() == merged(before, changed) | {"updated_at": answer.json()["updated_at"]}
    assert (await api.http.get(f"/v1/trainings/{before['id']}")).json() == answer.json()


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"round_policy": {"deadline_seconds": -1}}, "/round_policy/deadline_seconds"),
        ({"round_policy": {"dead_line": 1}}, "/round_policy/dead_line"),
        ({"selection": {"min_clients": 30}}, "/selection/max_clients"),
        ({"selection": {"parameters": {"nonsense": 1}}}, "/selection/parameters/nonsense"),
        ({"selection": {"strategy": "unknown", "parameters": None}}, "/selection/strategy"),
        ({"hyperparameters": {"learning_rate": "fast"}}, "/hyperparameters/learning_rate"),
        ({"name": None}, "/name"),
        ({"max_rounds": 0}, "/max_rounds"),
        ({"seed": 1}, "/seed"),
        ({"aggregation": "median"}, "/aggregation"),
        ({"goal": {"metric": "rmse", "mode": None}}, "/goal/mode"),
        ({"target_accuracy": 0.5, "goal": {"target": 0.5}}, "/target_accuracy"),
    ],
)
async def test_what_no_training_could_be_created_with_is_refused_and_changes_nothing(
    sqlite_api: Api, patch: dict[str, Any], pointer: str
) -> None:
    before = await made(sqlite_api)
    path = f"/v1/trainings/{before['id']}"
    assert_problem(
        await sqlite_api.http.patch(path, json=patch | {"max_rounds": patch.get("max_rounds", 50)}), 422, pointer
    )
    assert (await sqlite_api.http.get(path)).json() == before


async def test_each_field_that_changes_has_an_event(api: Api) -> None:
    before = await made(api)
    patch = {"max_rounds": 10, "selection": {"weights": {"compute": 4.0}}, "hyperparameters": {"note": "x"}}
    await api.http.patch(f"/v1/trainings/{before['id']}", json=patch | {"name": before["name"]})
    async with api.system.db.read() as tx:
        told = (await tx.events.after(0, training_id=before["id"], limit=100)).items
    assert [event.data for event in told if event.type == "training.changed"] == [
        {"field": "hyperparameters.note", "was": None, "now": "x"},
        {"field": "max_rounds", "was": 9, "now": 10},
        {"field": "selection.weights.compute", "was": 3.0, "now": 4.0},
    ]


async def test_a_training_that_is_not_there_cannot_be_changed(sqlite_api: Api) -> None:
    assert_problem(await sqlite_api.http.patch("/v1/trainings/x", json={"name": "y"}), 404)


@pytest.mark.parametrize(
    ("status", "advice"), [("running", "pause it first"), ("cancelled", "starts from its last version")]
)
async def test_a_training_that_cannot_be_changed_says_what_to_do(sqlite_api: Api, status: str, advice: str) -> None:
    path = f"/v1/trainings/{(await made(sqlite_api))['id']}"
    await sqlite_api.http.post(f"{path}/{'start' if status == 'running' else 'cancel'}")
    problem = assert_problem(await sqlite_api.http.patch(path, json={"name": "y"}), 409)
    assert advice in problem["detail"]


async def test_a_training_goes_on_with_its_new_values(database_url: str, tmp_path: Path) -> None:
    trainer = Adder(1.0)
    async with plane(tmp_path, database_url, {"a": trainer}) as running:
        training_id = await running.create(hyperparameters={"learning_rate": 0.5}, max_rounds=1)
        await running.run_round(training_id)
        assert trainer.hyperparameters["learning_rate"] == 0.5
        config = (await running.system.trainings.get(training_id)).config
        new = replace(config, hyperparameters={"learning_rate": 0.25}, max_rounds=2)
        await running.system.trainings.change(training_id, lambda _: new)
        await running.run_round(training_id)
    assert trainer.hyperparameters["learning_rate"] == 0.25


@pytest.mark.parametrize(
    ("patch", "detail"),
    [
        ({"max_rounds": 1}, "/max_rounds should be at least 2, the rounds that have begun"),
        (
            {"goal": {"metric": "mae", "mode": "min", "target": None}},
            "/goal cannot be on mae (min), not accuracy (max)",
        ),
        ({"aggregation": "fedavgm"}, "/aggregation cannot change once a training was created: create another one"),
        ({"seed": 1}, "/seed cannot change once"),
        ({"topology": "star"}, "/topology cannot change once"),
        ({"statistics": []}, "/statistics is the older name of parameters.averaged"),
        ({"colour": "red"}, "/colour is not a known field or parameter: remove it"),
    ],
)
async def test_a_refusal_begins_with_the_field_and_says_whether_it_can_change(
    sqlite_api: Api, patch: dict[str, Any], detail: str
) -> None:
    training_id = (await made(sqlite_api))["id"]
    async with sqlite_api.system.db.begin() as tx:
        training = await tx.trainings.get(training_id)
        await tx.trainings.put(replace(training, status="paused", current_round=2))
    problem = assert_problem(
        await sqlite_api.http.patch(f"/v1/trainings/{training_id}", json=patch), 422, *[f"/{name}" for name in patch]
    )
    assert problem["detail"].startswith(detail)
