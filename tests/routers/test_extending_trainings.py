"""``POST /v1/trainings/{id}/extend``."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.trainings import StopReason, TrainingStatus
from tests.api import Api, assert_problem


async def ended(
    api: Api, status: TrainingStatus = "completed", reason: StopReason = "max_rounds", **fields: Any
) -> str:
    """A training after 5 of 5 rounds."""
    training_id = await api.create_training(max_rounds=5, **fields)
    async with api.system.db.begin() as tx:
        training = await tx.trainings.get(training_id)
        await tx.trainings.put(replace(training, status=status, stop_reason=reason, current_round=5))
    return training_id


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_a_training_that_has_ended_runs_again(api: Api, status: TrainingStatus) -> None:
    training_id = await ended(api, status)
    answer = await api.http.post(f"/v1/trainings/{training_id}/extend", json={"rounds": 3})
    assert answer.status_code == 202, answer.text
    shown = answer.json()
    assert (shown["status"], shown["max_rounds"], shown["stop_reason"]) == ("running", 8, None)
    assert (await api.http.get(f"/v1/trainings/{training_id}")).json() == shown
    async with api.system.db.read() as tx:
        told = (await tx.events.after(0, training_id=training_id, limit=100)).items
    assert [(event.type, event.data) for event in told[1:]] == [
        ("training.extended", {"was": status, "rounds": 3}),
        ("training.changed", {"field": "max_rounds", "was": 5, "now": 8}),
    ]


async def test_the_goal_is_changed_by_a_merge_patch(api: Api) -> None:
    goal = {"metric": "rmse", "mode": "min", "target": 0.5, "patience": 4}
    training_id = await ended(api, reason="target", goal=goal)
    body = {"rounds": 3, "goal": {"target": 0.1}}
    shown = (await api.http.post(f"/v1/trainings/{training_id}/extend", json=body)).json()
    assert shown["goal"] == goal | {"target": 0.1, "min_delta": 0.0}


async def test_a_repeat_with_the_same_key_extends_once(api: Api) -> None:
    training_id = await ended(api)
    path, key = f"/v1/trainings/{training_id}/extend", {"Idempotency-Key": "more"}
    first = await api.http.post(path, json={"rounds": 3}, headers=key)
    again = await api.http.post(path, json={"rounds": 3}, headers=key)
    assert (again.status_code, again.json()) == (202, first.json())
    problem = assert_problem(await api.http.post(path, json={"rounds": 4}, headers=key), 422)
    assert problem["type"].endswith("key-reused")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/rounds"),
        ({"rounds": 0}, "/rounds"),
        ({"rounds": 999_996}, "/rounds"),
        ({"rounds": 1, "goal": {"metric": "rmse", "mode": "min"}}, "/goal"),
        ({"rounds": 1, "goal": {"patience": 0}}, "/goal/patience"),
        ({"rounds": 1, "max_rounds": 7}, "/max_rounds"),
        ({"rounds": 1, "target_accuracy": 0.5, "goal": {"target": 0.5}}, "/target_accuracy"),
    ],
)
async def test_an_extension_that_cannot_be_is_refused_and_changes_nothing(
    sqlite_api: Api, body: dict[str, Any], pointer: str
) -> None:
    training_id = await ended(sqlite_api)
    before = await sqlite_api.stored()
    assert_problem(await sqlite_api.http.post(f"/v1/trainings/{training_id}/extend", json=body), 422, pointer)
    assert await sqlite_api.stored() == before


async def test_a_reached_target_needs_another_goal(sqlite_api: Api) -> None:
    training_id = await ended(sqlite_api, reason="target_accuracy", target_accuracy=0.9)
    path = f"/v1/trainings/{training_id}/extend"
    problem = assert_problem(await sqlite_api.http.post(path, json={"rounds": 2}), 422, "/goal")
    assert "accuracy of 0.9 or more was reached" in problem["detail"]
    assert (await sqlite_api.http.post(path, json={"rounds": 2, "target_accuracy": 0.95})).status_code == 202


@pytest.mark.parametrize("status", ["created", "running", "paused", "cancelled"])
async def test_a_training_that_has_not_ended_or_was_cancelled_is_not_extended(
    sqlite_api: Api, status: TrainingStatus
) -> None:
    training_id = await ended(sqlite_api, status)
    problem = assert_problem(await sqlite_api.http.post(f"/v1/trainings/{training_id}/extend", json={"rounds": 1}), 409)
    assert f"cannot extend a training that is {status}: " in problem["detail"]
    assert_problem(await sqlite_api.http.post("/v1/trainings/x/extend", json={"rounds": 1}), 404)


async def test_an_extension_says_what_it_cannot_change(sqlite_api: Api) -> None:
    training_id = await ended(sqlite_api)
    body = {"rounds": 3, "round_policy": {"quorum": 0.5}}
    answer = await sqlite_api.http.post(f"/v1/trainings/{training_id}/extend", json=body)
    assert assert_problem(answer, 422, "/round_policy")["detail"].startswith("/round_policy cannot change with an ext")
