"""Trainings that name a recipe, over HTTP."""

from typing import Any

import pytest

from tcsfeel.contract.recipes import RECIPES
from tcsfeel.contract.selections import SelectionRules
from tcsfeel.contract.trainings import CreateTraining
from tests.api import Api, assert_problem

LOCAL = {"local_epochs": 1, "learning_rate": 0.1, "batch_size": 32}


async def created(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.http.post("/v1/trainings", json={"name": "t"} | fields)
    assert answer.status_code == 201, answer.text
    training: dict[str, Any] = (await api.http.get(answer.headers["Location"])).json()
    return training


async def test_each_recipe_is_spelt_out_field_by_field(api: Api) -> None:
    weights = {"data_quality": 1.0, "communication": 1.0, "compute": 0.5, "fairness": 0.5}
    near = {"data_quality": 1.0, "communication": 2.5, "compute": 0.0, "fairness": 0.4}
    for name, topology, own in (("tcs-feel", "star", weights), ("tcs-feel-relay", "relay", near)):
        training = await created(api, recipe=name)
        assert (training["recipe"], training["aggregation"], training["topology"]) == (name, "balanced", topology)
        assert training["selection"]["strategy"] == "tcs-feel"
        assert training["selection"]["weights"] == own
        assert training["round_policy"]["local_work"] == "elastic"
        assert training["hyperparameters"] == LOCAL | {
            "server_learning_rate": 1.0,
            "server_momentum": 0.9,
            "server_nesterov": True,
            "server_balance_penalty": 0.03,
        }
    training = await created(api, recipe="fedavg")
    assert (training["recipe"], training["aggregation"], training["topology"]) == ("fedavg", "fedavg", "star")
    assert training["selection"]["strategy"] == "random"
    assert training["hyperparameters"] == LOCAL


async def test_fields_that_are_given_win(sqlite_api: Api) -> None:
    training = await created(
        sqlite_api,
        recipe="tcs-feel",
        aggregation="fedavg",
        selection={"strategy": "oort", "min_clients": 2, "weights": {"fairness": 1.0}},
        hyperparameters={"server_momentum": 0.5, "server_nesterov": None, "learning_rate": 0.5},
    )
    assert (training["aggregation"], training["selection"]["strategy"]) == ("fedavg", "oort")
    assert training["selection"]["min_clients"] == 2
    assert training["selection"]["weights"] | {"compute": 0.5, "fairness": 1.0} == training["selection"]["weights"]
    assert training["hyperparameters"] == {
        "local_epochs": 1,
        "learning_rate": 0.5,
        "batch_size": 32,
        "server_learning_rate": 1.0,
        "server_momentum": 0.5,
        "server_balance_penalty": 0.03,
    }


async def test_without_a_recipe_a_training_is_as_before(sqlite_api: Api) -> None:
    for fields in ({}, {"recipe": None}):
        training = await created(sqlite_api, **fields)
        assert (training["recipe"], training["aggregation"]) == (None, "fedavg")
        assert training["hyperparameters"] == LOCAL


async def test_a_rule_that_relays_cannot_average_by_is_refused_beside_their_recipe(sqlite_api: Api) -> None:
    body = {"name": "t", "recipe": "tcs-feel-relay", "aggregation": "median"}
    problem = assert_problem(await sqlite_api.http.post("/v1/trainings", json=body), 422, "/topology")
    assert "compares the updates of single clients" in str(problem)


@pytest.mark.parametrize("name", RECIPES)
async def test_a_change_keeps_the_recipe_and_its_other_fields(sqlite_api: Api, name: str) -> None:
    before = await created(sqlite_api, recipe=name)
    path = f"/v1/trainings/{before['id']}"
    changed = (await sqlite_api.http.patch(path, json={"hyperparameters": {"server_momentum": 0.5}})).json()
    assert changed["hyperparameters"] == before["hyperparameters"] | {"server_momentum": 0.5}
    assert {field: changed[field] for field in ("recipe", "aggregation", "selection")} == {
        field: before[field] for field in ("recipe", "aggregation", "selection")
    }
    assert_problem(await sqlite_api.http.patch(path, json={"recipe": "fedavg"}), 422, "/recipe")


def test_parts_may_be_given_as_models() -> None:
    body = CreateTraining(name="t", recipe="fedavg", selection=SelectionRules(min_clients=3))
    assert (body.selection.strategy, body.selection.min_clients, body.selection.max_clients) == ("random", 3, 30)
    chosen = CreateTraining(name="t", recipe="fedavg", selection=SelectionRules(strategy="oort"))
    assert chosen.selection.strategy == "oort"


def test_a_part_without_fields_is_refused_as_before() -> None:
    with pytest.raises(ValueError, match="selection"):
        CreateTraining.model_validate({"name": "t", "recipe": "fedavg", "selection": 7})
