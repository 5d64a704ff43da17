"""Schedules in place of numbers, from the body of a training to the tasks of its clients."""

from pathlib import Path
from typing import Any

import pytest

from app.domain.trainings import DEADLINE
from tcsfeel.schedules import ByRound, Cosine, Step
from tests.api import Api, assert_problem
from tests.planes import Adder, plane, policy

COSINE = {"schedule": "cosine", "init_value": 0.1, "end_value": 0.001, "rounds": 50}
STEP = {"schedule": "step", "init_value": 8, "gamma": 0.5, "step_size": 10, "end_value": 1}
BY_ROUND = {"schedule": "by_round", "values": {"1": 60, "31": 120.5}}


async def test_schedules_are_shown_as_they_were_given(api: Api) -> None:
    body = {
        "name": "x",
        "hyperparameters": {"learning_rate": COSINE, "local_epochs": STEP, "own": BY_ROUND, "server_momentum": COSINE},
        "round_policy": {"deadline_seconds": BY_ROUND},
    }
    created = (await api.http.post("/v1/trainings", json=body)).json()
    assert created["hyperparameters"] == {
        "batch_size": 32,
        "learning_rate": COSINE | {"start": 1},
        "local_epochs": STEP | {"start": 1},
        "own": BY_ROUND,
        "server_momentum": COSINE | {"start": 1},
    }
    assert created["round_policy"]["deadline_seconds"] == BY_ROUND
    assert (await api.http.get(f"/v1/trainings/{created['id']}")).json() == created


@pytest.mark.parametrize(
    ("field", "schedule", "place", "words"),
    [
        ("learning_rate", {"schedule": "linear"}, "/schedule", "should be step, cosine or by_round"),
        ("learning_rate", {"init_value": 1}, "/schedule", "should be step, cosine or by_round"),
        ("learning_rate", COSINE | {"end_value": 0}, "/end_value", "should be greater than 0"),
        ("learning_rate", COSINE | {"rounds": 1}, "/rounds", "should be greater than or equal to 2"),
        ("learning_rate", COSINE | {"gamma": 1}, "/gamma", "is not a known field or parameter: remove it"),
        ("learning_rate", STEP | {"end_value": 9}, "/end_value", "should lie between 0 and init_value"),
        ("learning_rate", STEP | {"gamma": 2}, "/end_value", "should be beyond init_value"),
        ("learning_rate", STEP | {"gamma": "2"}, "/gamma", "should be a valid number"),
        ("server_momentum", COSINE | {"init_value": 1.0}, "/init_value", "should be less than 1"),
        (
            "local_epochs",
            {"schedule": "step", "init_value": 8, "gamma": 0.5, "step_size": 1},
            "/end_value",
            "should be",
        ),
        ("own", {"schedule": "by_round", "values": {"2": 1}}, "/values/1", "is required"),
        ("own", {"schedule": "by_round", "values": {"1": "x"}}, "/values/1", "should be a valid number"),
        ("own", {"schedule": "by_round", "values": {"1": 1, "01": 1}}, "/values/01", "has a key that should match"),
        ("server_byzantine_clients", COSINE, "", "should be a valid integer"),
    ],
)
async def test_a_schedule_that_cannot_be_names_its_field(
    sqlite_api: Api, field: str, schedule: dict[str, Any], place: str, words: str
) -> None:
    body = {"name": "x", "hyperparameters": {field: schedule}}
    pointer = f"/hyperparameters/{field}{place}"
    problem = assert_problem(await sqlite_api.http.post("/v1/trainings", json=body), 422, pointer)
    assert words in problem["errors"][0]["detail"]
    body = {"name": "x", "round_policy": {"deadline_seconds": COSINE}}
    assert_problem(
        await sqlite_api.http.post("/v1/trainings", json=body), 422, "/round_policy/deadline_seconds/init_value"
    )


@pytest.mark.parametrize(
    ("patch", "wanted"),
    [
        ({"rounds": 20}, COSINE | {"rounds": 20, "start": 1}),
        (STEP, STEP | {"start": 1}),
        (0.5, 0.5),
        (None, 0.1),
    ],
)
async def test_a_patch_changes_a_schedule_or_replaces_it(sqlite_api: Api, patch: Any, wanted: Any) -> None:
    given = {"learning_rate": COSINE, "schedule": "mine"}
    path = f"/v1/trainings/{await sqlite_api.create_training(hyperparameters=given)}"
    body = {"hyperparameters": {"learning_rate": patch, "schedule": "yours"}}
    shown = (await sqlite_api.http.patch(path, json=body)).json()["hyperparameters"]
    assert shown == {"learning_rate": wanted, "schedule": "yours", "local_epochs": 1, "batch_size": 32}
    async with sqlite_api.system.db.read() as tx:
        told = (await tx.events.after(0, training_id=path.rpartition("/")[2], limit=100)).items
    (event,) = [one for one in told if one.data.get("field") == "hyperparameters.learning_rate"]
    assert event.data["was"]["rounds"] == 50


async def test_each_round_has_the_values_of_its_number_and_tasks_carry_plain_numbers(
    database_url: str, tmp_path: Path
) -> None:
    trainer = Adder(1.0)
    schedules = {
        "hyperparameters.learning_rate": Step(init_value=0.8, gamma=0.5, step_size=1),
        "hyperparameters.local_epochs": Cosine(init_value=5.0, end_value=1.0, rounds=3),
        "hyperparameters.server_learning_rate": ByRound(values={1: 1.0, 3: 0.5}),
        DEADLINE: ByRound(values={1: 100.0, 2: 50.0}),
    }
    async with plane(tmp_path, database_url, {"a": trainer}) as running:
        training_id = await running.create(
            aggregation="fedavgm",
            hyperparameters={"server_momentum": 0.0, "big": 1e300},
            schedules=schedules,
            round_policy=policy(),
        )
        for number, rate, epochs, server, deadline in [
            (1, 0.8, 5, 1.0, 100.0),
            (2, 0.4, 3, 1.0, 50.0),
            (3, 0.2, 1, 0.5, 50.0),
        ]:
            round_ = await running.run_round(training_id)
            values = {"learning_rate": rate, "local_epochs": epochs, "server_learning_rate": server}
            assert round_.hyperparameters == values | {"server_momentum": 0.0, "big": 1e300}
            assert isinstance(round_.hyperparameters["local_epochs"], int)
            assert round_.deadline_seconds == deadline
            assert round_.deadline_at - round_.started_at == pytest.approx(deadline)
            assert trainer.hyperparameters == round_.hyperparameters, number
        assert await running.weight(training_id) == 2.5, "the server's rate was 0.5 in the third round"


async def test_an_open_round_keeps_the_values_with_which_it_began(api: Api) -> None:
    path = f"/v1/trainings/{await api.create_training(hyperparameters={'learning_rate': 0.5})}"
    await api.http.post(f"{path}/start")
    await api.http.post(f"{path}/pause")
    await api.http.post(f"{path}/rounds")
    await api.http.post(f"{path}/pause")
    await api.http.patch(path, json={"hyperparameters": {"learning_rate": 0.25}})
    (round_,) = (await api.http.get(f"{path}/rounds")).json()["items"]
    assert round_["hyperparameters"]["learning_rate"] == 0.5
    assert round_["deadline_seconds"] == 600.0
