"""A training's history, and single rounds by hand, over HTTP."""

from dataclasses import replace
from typing import Any

from app.domain.rounds import Evidence, Participation, Round, next_round
from app.domain.summaries import Summary
from app.store.selections import packed
from tcsfeel.selection.types import Chosen, Plan, Selection, Skipped
from tests.api import Api, assert_problem
from tests.routers.samples import end


async def test_one_round_is_ordered_with_202_and_its_location(api: Api) -> None:
    training_id = await api.create_training()
    response = await api.http.post(f"/v1/trainings/{training_id}/rounds")
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/trainings/{training_id}/rounds/1"
    assert "Preference-Applied" not in response.headers
    body = response.json()
    assert (body["number"], body["status"], body["ended_at"]) == (1, "selecting", None)
    assert (await api.http.get(response.headers["Location"])).json() == body
    assert (await api.http.get(f"/v1/trainings/{training_id}")).json()["status"] == "running"
    assert_problem(await api.http.post(f"/v1/trainings/{training_id}/rounds"), 409)


async def test_a_round_tells_why_each_client_is_in_it_or_not(api: Api) -> None:
    training_id = await api.create_training()
    path = f"/v1/trainings/{training_id}/rounds/1"
    assert_problem(await api.http.get(f"{path}/selection"), 404)
    await api.http.post(f"/v1/trainings/{training_id}/rounds")
    assert_problem(await api.http.get(f"{path}/selection"), 404)  # it is not planned yet
    chosen = Selection(
        strategy="tcs-feel",
        selected=(Chosen("edge-1", 0.5, {"balance": 0.25}, 1.5),),
        skipped=(Skipped("edge-2", "its link is expensive"),),
        total_cost=1.5,
        label_divergence=None,
        fairness=0.5,
        expected_seconds=4.0,
        plan=Plan("star", {"edge-1": None}),
    )
    async with api.system.db.begin() as tx:
        await tx.selections.add(training_id, 1, packed(chosen))
    response = await api.http.get(f"{path}/selection")
    assert response.status_code == 200
    assert response.json() == {
        "strategy": "tcs-feel",
        "selected": [{"client_id": "edge-1", "score": 0.5, "components": {"balance": 0.25}, "marginal_cost": 1.5}],
        "skipped": [{"client_id": "edge-2", "reason": "its link is expensive"}],
        "total_cost": 1.5,
        "label_divergence": None,
        "fairness": 0.5,
        "expected_seconds": 4.0,
        "plan": {"topology": "star", "parents": {"edge-1": None}},
    }


async def test_a_key_gives_the_same_round_again_even_when_it_has_ended(api: Api) -> None:
    training_id = await api.create_training()
    headers = {"Idempotency-Key": "round-1"}
    path = f"/v1/trainings/{training_id}/rounds"
    first = await api.http.post(path, headers=headers)
    again = await api.http.post(path, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    await end(api, training_id, 1)
    later = await api.http.post(path, headers=headers | {"Prefer": "wait=60"})
    assert (later.status_code, later.json()["number"], later.json()["status"]) == (200, 1, "completed")
    assert len((await api.stored())["rounds"]) == 1
    second = await api.http.post(path, headers={"Idempotency-Key": "round-2"})
    assert second.json()["number"] == 2


async def test_the_key_of_one_training_says_nothing_to_another(sqlite_api: Api) -> None:
    headers = {"Idempotency-Key": "round-1"}
    for training_id in [await sqlite_api.create_training(), await sqlite_api.create_training()]:
        response = await sqlite_api.http.post(f"/v1/trainings/{training_id}/rounds", headers=headers)
        assert response.headers["Location"] == f"/v1/trainings/{training_id}/rounds/1"
    assert len((await sqlite_api.stored())["rounds"]) == 2


PART = Participation(
    client_id="edge-7",
    status="received",
    attempts=2,
    num_examples=100,
    loss=0.5,
    accuracy=0.75,
    bytes_sent=400,
    bytes_received=410,
    seconds=1.5,
    score=0.875,
    components={"data_quality": 0.5},
    finished_at=1_000_001.0,
    update="f" * 64,
    update_norm=1.5,
    metrics={"accuracy": 0.75, "f1": 0.5},
    num_steps=12,
    asked_steps=48,
    weight=0.25,
    relay="edge-8",
    local_epochs=3,
    digest="e" * 64,
    evidence=Evidence(call="the call", answer="the answer", signature=":c2ln:"),
)
EVALUATION = Participation(kind="evaluate",
    client_id="edge-7", status="received", attempts=1, num_examples=20, loss=1.25, accuracy=0.5, seconds=0.5,
    bytes_sent=300, bytes_received=90, metrics={"accuracy": 0.5},
)  # fmt: skip
FAILED = Participation(
    client_id="edge-8", status="failed", attempts=1, reason="KeyError: 1", bytes_sent=400,
    traceback="  t.py:1 in fit\nKeyError: 1",
)  # fmt: skip


async def played(api: Api, training_id: str, count: int) -> None:
    """Rounds that have ended, as the coordinator leaves them."""
    async with api.system.db.begin() as tx:
        training = await tx.trainings.get(training_id)
        for number in range(1, count + 1):
            training, round_ = next_round(training, api.clock.now() + number)
            await tx.rounds.add(
                replace(
                    round_,
                    status="completed",
                    ended_at=round_.started_at + 2,
                    connectivity_version=0,
                    plan=Plan("star", {"edge-7": None, "edge-8": None}),
                    model="a" * 64,
                    average_accuracy=0.5,
                    average_loss=1.25,
                    goal_value=0.5,
                    metrics={"accuracy": Summary(0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1)},
                    training_metrics={"f1": Summary(0.5, 0.25, 0.5, 0.5, 0.75, 1.0, 9)},
                    communication_cost=0.9,
                    communication_bytes=1210,
                    convergence_speed=0.25,
                    fairness=0.5,
                )
            )
            await tx.rounds.add_participations(_with(round_, PART, FAILED))
            skipped = Participation(kind="evaluate", client_id="edge-8", status="skipped", reason="late")
            await tx.rounds.add_evaluations(replace(round_, evaluations=(EVALUATION, skipped)))
        await tx.trainings.put(training)


def _with(round_: Round, *parts: Participation) -> Round:
    return replace(round_, participations=parts)


async def test_a_round_comes_with_its_participations(api: Api) -> None:
    training_id = await api.create_training()
    await played(api, training_id, 1)
    body: dict[str, Any] = (await api.http.get(f"/v1/trainings/{training_id}/rounds/1")).json()
    seed = body.pop("seed")
    assert isinstance(seed, int)
    assert body == {
        "training_id": training_id,
        "number": 1,
        "status": "completed",
        "started_at": "1970-01-12T13:46:41Z",
        "deadline_at": "1970-01-12T13:56:41Z",
        "ended_at": "1970-01-12T13:46:43Z",
        "selected_clients": ["edge-7", "edge-8"],
        "average_accuracy": 0.5,
        "average_loss": 1.25,
        "goal_value": 0.5,
        "metrics": {
            "accuracy": {"mean": 0.5, "min": 0.5, "p25": 0.5, "p50": 0.5, "p75": 0.5, "max": 0.5, "clients": 1}
        },
        "training_metrics": {
            "f1": {"mean": 0.5, "min": 0.25, "p25": 0.5, "p50": 0.5, "p75": 0.75, "max": 1.0, "clients": 9}
        },
        "target_doubt": None,
        "communication_cost": 0.9,
        "communication_bytes": 1210,
        "convergence_speed": 0.25,
        "fairness": 0.5,
        "label_divergence": None,
        "waiting_since": None,
        "waited_seconds": 0.0,
        "model": "a" * 64,
        "failure_reason": None,
        "weighting": None,
        "hyperparameters": {"batch_size": 32, "learning_rate": 0.1, "local_epochs": 1},
        "deadline_seconds": 600.0,
        "connectivity_version": 0,
        "plan": {"topology": "star", "parents": {"edge-7": None, "edge-8": None}},
        "participations": [
            {
                "client_id": "edge-7",
                "status": "received",
                "attempts": 2,
                "reason": None,
                "num_examples": 100,
                "loss": 0.5,
                "accuracy": 0.75,
                "metrics": {"accuracy": 0.75, "f1": 0.5},
                "traceback": None,
                "update_norm": 1.5,
                "num_steps": 12,
                "weight": 0.25,
                "digest": "e" * 64,
                "evidence": {"call": "the call", "answer": "the answer", "signature": ":c2ln:"},
                "relay": "edge-8",
                "bytes_sent": 400,
                "bytes_received": 410,
                "seconds": 1.5,
                "score": 0.875,
                "components": {"data_quality": 0.5},
                "carried_to": None,
                "begun_in": None,
                "base_model": None,
                "staleness": 0,
                "local_epochs": 3,
                "asked_steps": 48,
            },
            {
                "client_id": "edge-8",
                "status": "failed",
                "attempts": 1,
                "reason": "KeyError: 1",
                "traceback": "  t.py:1 in fit\nKeyError: 1",
                "num_examples": None,
                "loss": None,
                "accuracy": None,
                "metrics": {},
                "update_norm": None,
                "num_steps": None,
                "weight": None,
                "digest": None,
                "evidence": None,
                "relay": None,
                "bytes_sent": 400,
                "bytes_received": 0,
                "seconds": None,
                "score": 0.0,
                "components": {},
                "carried_to": None,
                "begun_in": None,
                "base_model": None,
                "staleness": 0,
                "local_epochs": None,
                "asked_steps": None,
            },
        ],
        "evaluations": [
            {
                "client_id": "edge-7",
                "status": "received",
                "attempts": 1,
                "reason": None,
                "num_examples": 20,
                "loss": 1.25,
                "accuracy": 0.5,
                "metrics": {"accuracy": 0.5},
                "traceback": None,
                "bytes_sent": 300,
                "bytes_received": 90,
                "seconds": 0.5,
            },
            {
                "client_id": "edge-8",
                "status": "skipped",
                "attempts": 0,
                "reason": "late",
                "num_examples": None,
                "loss": None,
                "accuracy": None,
                "metrics": {},
                "traceback": None,
                "bytes_sent": 0,
                "bytes_received": 0,
                "seconds": None,
            },
        ],
    }


async def test_pages_walk_the_history_newest_first(api: Api) -> None:
    training_id = await api.create_training()
    await played(api, training_id, 5)
    await played(api, await api.create_training(), 2)
    path = f"/v1/trainings/{training_id}/rounds"
    first = (await api.http.get(path, params={"limit": 3})).json()
    assert [value["number"] for value in first["items"]] == [5, 4, 3]
    second = (await api.http.get(path, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [value["number"] for value in second["items"]] == [2, 1]
    assert second["next_cursor"] is None
    everything = (await api.http.get(path, params={"limit": 5})).json()
    assert (len(everything["items"]), everything["next_cursor"]) == (5, None)


async def test_a_training_without_rounds_has_an_empty_history(sqlite_api: Api) -> None:
    training_id = await sqlite_api.create_training()
    assert (await sqlite_api.http.get(f"/v1/trainings/{training_id}/rounds")).json() == {
        "items": [],
        "next_cursor": None,
    }
    assert_problem(await sqlite_api.http.get(f"/v1/trainings/{training_id}/rounds/1"), 404)
