"""Creating trainings and asking things of them, over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api import NOW, Api, assert_problem, running_api

DEFAULTS: dict[str, Any] = {
    "name": "digits",
    "status": "created",
    "current_round": 0,
    "target_accuracy": 0.963,
    "goal": {"metric": "accuracy", "mode": "max", "target": 0.963, "patience": None, "min_delta": 0.0},
    "max_rounds": 100,
    "aggregation": "fedavg",
    "selection": {
        "strategy": "tcs-feel",
        "min_clients": 10,
        "max_clients": 30,
        "budget_constraint": None,
        "largest_multiple": 2.0,
        "weights": {"data_quality": 1.0, "communication": 1.0, "compute": 1.0, "fairness": 0.5},
        "parameters": {},
    },
    "where": {"tags": {}, "clients": [], "exclude": [], "min_data_size": 0, "min_reliability": 0.0},
    "hyperparameters": {"local_epochs": 1, "learning_rate": 0.1, "batch_size": 32},
    "round_policy": {
        "deadline_seconds": 600.0,
        "quorum": 0.6,
        "over_selection": 1.0,
        "grace_seconds": 10.0,
        "max_failed_rounds": 3,
        "max_wait_seconds": 3600.0,
        "stragglers": "skip",
        "max_staleness": 5,
        "local_work": "full",
    },
    "evaluation": {"clients": 50, "tags": {}},
    "uploads": {"encoding": "full", "compression": "none"},
    "topology": "star",
    "seed": 0,
    "parameters": {"averaged": [], "local": [], "frozen": []},
    "statistics": [],
    "created_at": NOW,
    "updated_at": NOW,
}
DEFAULTS |= dict.fromkeys(("origin", "unmatched_patterns", "recipe", "stop_reason", "stop_detail", "accuracy"))
DEFAULTS |= dict.fromkeys(("best_accuracy", "goal_value", "best_value", "best_round", "model", "retention", "progress"))
GIVEN: dict[str, Any] = {
    "name": "a name with ü",
    "target_accuracy": 0.5,
    "max_rounds": 7,
    "aggregation": "fedprox",
    "selection": {
        "strategy": "fedcs",
        "min_clients": 1,
        "max_clients": 2,
        "budget_constraint": 4.5,
        "largest_multiple": None,
        "weights": {"data_quality": 0.0, "communication": 2.0, "compute": 3.0, "fairness": 4.0},
        "parameters": {"pool_factor": 3, "deadline_seconds": 12.5},
    },
    "where": {
        "tags": {"site": "北"},
        "clients": ["a", "b"],
        "exclude": ["c"],
        "min_data_size": 7,
        "min_reliability": 0.25,
    },
    "hyperparameters": {
        "local_epochs": 5,
        "learning_rate": 0.5,
        "batch_size": 10,
        "proximal_mu": 0.25,
        "momentum": 0.9,
        "optimizer": "sgd",
        "nesterov": True,
        "steps": 12,
    },
    "round_policy": {
        "deadline_seconds": 60.0,
        "quorum": 0.5,
        "over_selection": 1.3,
        "grace_seconds": 0.0,
        "max_failed_rounds": 1,
        "max_wait_seconds": 0.5,
        "stragglers": "carry",
        "max_staleness": 3,
        "local_work": "elastic",
    },
    "evaluation": {"clients": 0, "tags": {"trusted": "yes", "site": "北"}},
    "uploads": {"encoding": "int8", "compression": "zstd"},
    "topology": "star",
    "seed": 42,
    "retention": {"keep_last": 3, "keep_best": False},
    "parameters": {"averaged": ["*.ema", "stats/*"], "local": ["bn*", "head.*"], "frozen": ["embedding"]},
}


async def test_only_the_name_is_needed(api: Api) -> None:
    response = await api.http.post("/v1/trainings", json={"name": "digits"})
    assert response.status_code == 201
    training = response.json()
    training_id = training.pop("id")
    assert response.headers["Location"] == f"/v1/trainings/{training_id}"
    assert training == DEFAULTS
    assert (await api.http.get(response.headers["Location"])).json() == DEFAULTS | {"id": training_id}


async def test_everything_that_was_given_comes_back(api: Api) -> None:
    training = (await api.http.post("/v1/trainings", json=GIVEN)).json()
    assert {name: training[name] for name in GIVEN} == GIVEN


REGRESSION = {"metric": "rmse", "mode": "min", "target": 0.1, "patience": 5, "min_delta": 0.001}


@pytest.mark.parametrize(
    ("goal", "stored"),
    [
        (REGRESSION, REGRESSION),
        ({"metric": "loss"}, {"metric": "loss", "mode": "min", "target": None, "patience": None, "min_delta": 0.0}),
        (
            {"metric": "accuracy", "target": 1},
            {"metric": "accuracy", "mode": "max", "target": 1.0, "patience": None, "min_delta": 0.0},
        ),
    ],
)
async def test_a_goal_may_be_on_any_metric(api: Api, goal: dict[str, Any], stored: dict[str, Any]) -> None:
    answer = await api.http.post("/v1/trainings", json={"name": "t", "goal": goal})
    training = (await api.http.get(answer.headers["Location"])).json()
    assert training["goal"] == stored
    assert training["target_accuracy"] == (1.0 if goal["metric"] == "accuracy" else None)


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"goal": {"metric": "rmse"}}, "/goal/mode", "should say whether rmse should fall (min) or rise (max)"),
        ({"goal": {"metric": "1st", "mode": "max"}}, "/goal/metric", "should be a letter and at most 63 more"),
        ({"goal": {"metric": "accuracy", "target": 1.5}}, "/goal/target", "as it is an accuracy"),
        ({"goal": {"metric": "loss", "target": 1e16}}, "/goal/target", "less than or equal to"),
        ({"goal": {"metric": "loss", "patience": 0}}, "/goal/patience", "greater than or equal to 1"),
        ({"goal": {"metric": "loss", "min_delta": -1}}, "/goal/min_delta", "greater than or equal to 0"),
        ({"goal": REGRESSION, "target_accuracy": 0.9}, "/target_accuracy", "goal says what is to be reached"),
    ],
)
async def test_a_goal_that_makes_no_sense_is_refused(
    sqlite_api: Api, body: dict[str, Any], pointer: str, detail: str
) -> None:
    problem = assert_problem(await sqlite_api.http.post("/v1/trainings", json={"name": "t"} | body), 422, pointer)
    assert detail in str(problem)


async def test_fedprox_has_a_proximal_term_unless_told_otherwise(sqlite_api: Api) -> None:
    body = {"name": "digits", "aggregation": "fedprox"}
    assert (await sqlite_api.http.post("/v1/trainings", json=body)).json()["hyperparameters"]["proximal_mu"] == 0.01


async def test_krum_takes_the_fewest_clients_that_it_can_do_with(sqlite_api: Api) -> None:
    body: dict[str, Any] = {
        "name": "digits",
        "aggregation": "krum",
        "selection": {"min_clients": 1, "max_clients": 7},
        "hyperparameters": {"server_byzantine_clients": 2, "server_clip_norm": 1.5},
    }
    answer = await sqlite_api.http.post("/v1/trainings", json=body)
    assert (answer.status_code, answer.json()["aggregation"]) == (201, "krum")
    assert body["hyperparameters"].items() <= answer.json()["hyperparameters"].items()

    body["selection"] = {"min_clients": 1, "max_clients": 6}
    assert_problem(await sqlite_api.http.post("/v1/trainings", json=body), 422, "/selection/max_clients")


async def test_the_configured_defaults_apply(sqlite_url: str, tmp_path: Path) -> None:
    async with running_api(tmp_path / "data", sqlite_url, training={"target_accuracy": 0.75, "max_rounds": 5}) as api:
        training = (await api.http.post("/v1/trainings", json={"name": "digits"})).json()
    assert (training["target_accuracy"], training["max_rounds"]) == (0.75, 5)


async def test_pages_walk_every_training_newest_first(api: Api) -> None:
    created = []
    for number in range(5):
        created.append(await api.create_training(name=f"training {number}"))
        api.clock.advance(1 if number % 2 else 0)  # some at the same instant
    walked: list[str] = []
    sizes: list[int] = []
    cursor: str | None = None
    while cursor is not None or not sizes:
        query = {"limit": "2"} | ({} if cursor is None else {"cursor": cursor})
        body = (await api.http.get("/v1/trainings", params=query)).json()
        walked += [training["id"] for training in body["items"]]
        sizes.append(len(body["items"]))
        cursor = body["next_cursor"]
    assert sizes == [2, 2, 1]
    assert sorted(walked) == sorted(created)
    instants = [(await api.http.get(f"/v1/trainings/{training_id}")).json()["created_at"] for training_id in walked]
    assert instants == sorted(instants, reverse=True)


LIFE = [
    # what is asked of a training, the answer, and its status afterwards
    ("pause", 409, "created"),
    ("start", 202, "running"),
    ("start", 409, "running"),
    ("resume", 409, "running"),
    ("rounds", 409, "running"),
    ("pause", 202, "paused"),
    ("pause", 409, "paused"),
    ("resume", 202, "running"),
    ("pause", 202, "paused"),
    ("start", 202, "running"),
    ("cancel", 202, "cancelled"),
    ("start", 409, "cancelled"),
    ("resume", 409, "cancelled"),
    ("pause", 409, "cancelled"),
    ("cancel", 409, "cancelled"),
    ("rounds", 409, "cancelled"),
]


async def test_what_the_state_forbids_answers_409_with_the_state(api: Api) -> None:
    training_id = await api.create_training()
    for action, status, after in LIFE:
        before = (await api.http.get(f"/v1/trainings/{training_id}")).json()["status"]
        response = await api.http.post(f"/v1/trainings/{training_id}/{action}")
        assert response.status_code == status, action
        if status == 409:
            problem = assert_problem(response, 409)
            assert problem["type"] == "urn:tcsfeel:problem:state-forbids"
            assert problem["detail"].endswith(f"a training that is {before}")
        else:
            assert response.json()["status"] == after
        assert (await api.http.get(f"/v1/trainings/{training_id}")).json()["status"] == after
    assert (await api.http.get(f"/v1/trainings/{training_id}")).json()["stop_reason"] == "cancelled"


async def test_resume_starts_a_training_that_was_only_created(sqlite_api: Api) -> None:
    training_id = await sqlite_api.create_training()
    response = await sqlite_api.http.post(f"/v1/trainings/{training_id}/resume")
    assert (response.status_code, response.json()["status"]) == (202, "running")


async def test_a_key_gives_the_same_training_again(api: Api) -> None:
    headers = {"Idempotency-Key": "7f9c"}
    first = await api.http.post("/v1/trainings", json=GIVEN, headers=headers)
    api.clock.advance(60)
    again = await api.http.post("/v1/trainings", json=GIVEN, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Location"] == first.headers["Location"]
    assert len((await api.http.get("/v1/trainings")).json()["items"]) == 1
    other = await api.http.post("/v1/trainings", json=GIVEN, headers={"Idempotency-Key": "7f9d"})
    assert other.json()["id"] != first.json()["id"]


async def test_a_key_gives_one_training_to_many_at_once(api: Api) -> None:
    headers = {"Idempotency-Key": "7f9c"}
    answers = await asyncio.gather(*(api.http.post("/v1/trainings", json=GIVEN, headers=headers) for _ in range(5)))
    assert {response.status_code for response in answers} == {201}
    assert len({response.json()["id"] for response in answers}) == 1
    assert len((await api.stored())["trainings"]) == 1


async def test_a_key_of_another_request_is_refused(api: Api) -> None:
    headers = {"Idempotency-Key": "7f9c"}
    await api.http.post("/v1/trainings", json=GIVEN, headers=headers)
    before = await api.stored()
    problem = assert_problem(await api.http.post("/v1/trainings", json={"name": "other"}, headers=headers), 422)
    assert problem["type"] == "urn:tcsfeel:problem:key-reused"
    assert await api.stored() == before


async def test_a_refused_request_does_not_use_up_its_key(sqlite_api: Api) -> None:
    headers = {"Idempotency-Key": "7f9c"}
    assert_problem(await sqlite_api.http.post("/v1/trainings", json={}, headers=headers), 422, "/name")
    assert (await sqlite_api.http.post("/v1/trainings", json=GIVEN, headers=headers)).status_code == 201


OF_A_TRAINING = [
    ("GET", ""),
    ("POST", "/start"),
    ("POST", "/pause"),
    ("POST", "/resume"),
    ("POST", "/cancel"),
    ("GET", "/rounds"),
    ("POST", "/rounds"),
    ("GET", "/rounds/1"),
    ("GET", "/model"),
    ("PUT", "/model"),
]


async def test_a_training_that_is_not_there_answers_404(sqlite_api: Api) -> None:
    for method, path in OF_A_TRAINING:
        assert_problem(await sqlite_api.http.request(method, f"/v1/trainings/nothing{path}"), 404)
