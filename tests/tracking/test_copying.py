"""Trainings are copied to trackers, each round once, whatever happens between two writes.

Covers: app.tracking.following, app.tracking.mlflow, app.tracking.figures
"""

import contextlib
from typing import Any

import httpx2
import pytest

from app.tracking.following import AGAIN_SECONDS, Copying
from app.tracking.mlflow import MlflowTracker
from app.tracking.tracker import CannotTrack, TrackerAway
from tcsfeel.contract.rounds import ClientEvaluationOut
from tests.tracking.servers import ID, FakeMlflow, Plane, ended, silent

SERVER = "http://plane:8080/"


def copying(plane: Plane, mlflow: FakeMlflow, told: list[str] | None = None, *, most_clients: int = 200) -> Copying:
    """A command that was started now."""
    tracker = MlflowTracker(
        "http://mlflow", server=SERVER, token="secret", most_clients=most_clients, transport=mlflow.transport()
    )
    return Copying(plane, [tracker], tell=silent if told is None else told.append)


def test_a_run_has_the_parameters_the_curve_and_the_model_versions_of_its_training() -> None:
    plane, mlflow = Plane(ended(1), ended(2, accuracy=0.75), status="completed", max_rounds=2), FakeMlflow()
    assert copying(plane, mlflow).catch_up() == 7
    (run,) = mlflow.runs.values()
    assert (run["status"], run["name"], run["tags"]["tcsfeel.training"]) == ("FINISHED", "digits: MNIST/small", ID)
    assert run["params"]["max_rounds"] == "2"
    assert run["params"]["goal.metric"] == "accuracy"
    assert mlflow.points("evaluation/accuracy") == [(1, 0.5), (2, 0.75)]
    assert mlflow.points("evaluation/rmse") == [(1, 0.25), (2, 0.25)]
    assert mlflow.points("round/seconds") == [(1, 4.0), (2, 4.0)]
    assert mlflow.points("round/fairness") == []  # which is no number
    assert mlflow.points("clients/edge-1/training/loss") == [(1, 0.75), (2, 0.75)]
    assert mlflow.points("clients/edge-1/training/a/_/b/_") == [(1, 2.0), (2, 2.0)]  # no path that means another
    (versions,) = mlflow.models.values()
    assert list(mlflow.models) == ["digits_ MNIST_small-0d3a0016"]
    assert [one["source"] for one in versions] == [
        f"mlflow-artifacts:/0/run-0/artifacts/round-{number}" for number in (1, 2)
    ]
    pointer = mlflow.artifacts["0/run-0/artifacts/round-2/tcsfeel.json"]
    assert pointer["tcsfeel.url"] == f"http://plane:8080/v1/trainings/{ID}/model?round=2"
    assert pointer["sha256"] == f"{2:064x}"
    assert mlflow.headers[0]["authorization"] == "Bearer secret"


def test_a_command_that_starts_again_goes_on_without_doubles() -> None:
    plane, mlflow = Plane(ended(1)), FakeMlflow()
    copying(plane, mlflow).catch_up()
    plane.all[2] = ended(2)
    plane.all[3] = ended(3, ended_at=None)
    for _ in range(2):
        copying(plane, mlflow).catch_up()
    assert len(mlflow.runs) == 1
    assert [step for step, _ in mlflow.points("evaluation/accuracy")] == [1, 2]
    assert [len(versions) for versions in mlflow.models.values()] == [2]
    assert mlflow.runs["run-0"]["status"] == "RUNNING"


@pytest.mark.parametrize("endpoint", ["runs/log-batch", "model-versions/create", "runs/create", "runs/update"])
@pytest.mark.parametrize("calls_before", [0, 1, 2])
@pytest.mark.parametrize("same", [False, True], ids=["started again", "tried again"])
def test_a_write_whose_answer_is_lost_leaves_nothing_out_and_nothing_double(
    endpoint: str, calls_before: int, *, same: bool
) -> None:
    plane, mlflow = Plane(ended(1), ended(2), status="failed"), FakeMlflow()
    seen = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal seen
        status, found = mlflow.answer(request.method, request.url.raw_path.decode(), request.read())
        if request.url.path.endswith(endpoint):
            seen += 1
            if seen == calls_before + 1:  # it arrived, and the answer was lost
                raise httpx2.ConnectError("gone")
        return httpx2.Response(status, json=found)

    tracker = MlflowTracker("http://mlflow", server=SERVER, transport=httpx2.MockTransport(answer))
    again = Copying(plane, [tracker], tell=silent)
    with contextlib.suppress(TrackerAway):
        again.catch_up()
    (again if same else copying(plane, mlflow)).catch_up()
    assert len(mlflow.runs) == 1
    assert [step for step, _ in mlflow.points("evaluation/accuracy")] == [1, 2]
    assert [[one["tags"][1]["value"] for one in versions] for versions in mlflow.models.values()] == [["1", "2"]]
    assert mlflow.runs["run-0"]["status"] == "FAILED"
    assert mlflow.runs["run-0"]["params"]["goal.mode"] == "max"


def test_rounds_are_written_as_they_end_and_a_server_that_is_away_is_tried_again() -> None:
    plane, mlflow = Plane(ended(1)), FakeMlflow()
    told: list[str] = []
    pauses: list[float] = []
    plane.happened = [[ended(2)], [ended(3)]]
    mlflow.fails = [("experiments/get-by-name", 503), ("runs/log-batch", httpx2.ReadTimeout("slow"))]
    with pytest.raises(KeyboardInterrupt):
        copying(plane, mlflow, told).follow(pauses.append)
    assert [step for step, _ in mlflow.points("evaluation/accuracy")] == [1, 2, 3]
    assert pauses == [AGAIN_SECONDS, AGAIN_SECONDS]
    assert told[0] == "MLflow at http://mlflow answered experiments/get-by-name with 503; trying again in 5 s"
    assert told[-1] == f"{ID} digits: MNIST/small: running, up to round 3"


def test_what_is_as_it_was_is_told_once() -> None:
    plane, mlflow, told = Plane(ended(1), status="completed"), FakeMlflow(), list[str]()
    again = copying(plane, mlflow, told)
    for _ in range(2):
        again.catch_up()
    plane.all[2] = ended(2)  # of a training that was extended
    again.catch_up()
    assert told == [f"{ID} digits: MNIST/small: completed, up to round {number}" for number in (1, 2)]


def test_clients_of_a_larger_round_have_no_figures_of_their_own() -> None:
    mlflow = FakeMlflow()
    copying(Plane(ended(1, clients=("a", "b"))), mlflow, most_clients=1).catch_up()
    assert mlflow.points("round/received") == [(1, 2.0)]
    assert not [name for _, name, *_ in mlflow.metrics if name.startswith("clients/")]


def test_as_many_evaluations_as_clients_are_too_many_have_no_figures_of_their_own() -> None:
    mlflow = FakeMlflow()
    one: dict[str, Any] = dict.fromkeys(ClientEvaluationOut.model_fields)
    copying(
        Plane(ended(1, evaluations=[ClientEvaluationOut.model_construct(**one)] * 2)), mlflow, most_clients=1
    ).catch_up()
    assert mlflow.points("round/received") == [(1, 1.0)]
    assert not [name for _, name, *_ in mlflow.metrics if name.startswith("clients/")]


def test_clients_do_not_say_what_the_control_plane_knows_itself() -> None:
    mlflow, (part,) = FakeMlflow(), ended(1).participations
    part = part.model_copy(update={"metrics": {"received": 9.0, "seconds": 9.0}})
    copying(Plane(ended(1, participations=[part])), mlflow).catch_up()
    assert mlflow.points("clients/edge-1/training/received") == [(1, 1.0)]
    assert mlflow.points("clients/edge-1/training/seconds") == [(1, 3.0)]


def test_long_names_and_names_that_become_the_same_one_are_taken() -> None:
    given = {"a:b": 1, "a_b": 2, "x" * 256: 3, "a/" * 128: 4, "b" + "/" * 200: 5}
    mlflow = FakeMlflow()
    copying(Plane(ended(1), hyperparameters=given, name="n" * 256), mlflow).catch_up()
    params = mlflow.runs["run-0"]["params"]
    assert params["hyperparameters.a_b"] == "1"
    assert {"1", "3", "4", "5"} <= set(params.values())
    assert [len(name) for name in mlflow.models] == [250]


def test_an_address_that_is_no_servers_is_refused_and_its_password_is_told_nobody() -> None:
    for url in ("sqlite:///mlflow.db", "file:./mlruns", "databricks", "http://[::bad"):
        with pytest.raises(CannotTrack, match="MLFLOW_TRACKING_URI"):
            MlflowTracker(url, server=SERVER)
    asked: list[str] = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.headers["Authorization"])
        return httpx2.Response(503)

    tracker = MlflowTracker("http://me:hunter2@mlflow/x/", server=SERVER, transport=httpx2.MockTransport(refuse))
    with pytest.raises(TrackerAway, match=r"^MLflow at http://mlflow/x answered"):
        Copying(Plane(ended(1)), [tracker], tell=silent).catch_up()
    assert asked == ["Basic bWU6aHVudGVyMg=="]


def test_a_refusal_ends_the_command_and_says_what_was_refused() -> None:
    mlflow = FakeMlflow()
    mlflow.fails = [("runs/search", 403)]
    with pytest.raises(CannotTrack, match="MLflow at http://mlflow refused runs/search with 403"):
        copying(Plane(ended(1)), mlflow).catch_up()
    tracker = MlflowTracker(
        "http://mlflow", server=SERVER, transport=httpx2.MockTransport(lambda _: httpx2.Response(200, text="<html>"))
    )
    with pytest.raises(CannotTrack, match="http://mlflow is no MLflow server"):
        Copying(Plane(ended(1)), [tracker], tell=silent).catch_up()


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (502, TrackerAway, "answered experiments/get-by-name with 502"),
        (401, CannotTrack, "refused experiments/get-by-name with 401"),
    ],
)
def test_an_error_without_json_is_told_by_its_status(status: int, error: type[Exception], reason: str) -> None:
    page = httpx2.MockTransport(lambda _: httpx2.Response(status, text="<html>of a proxy"))
    with pytest.raises(error, match=reason):
        Copying(
            Plane(ended(1)), [MlflowTracker("http://mlflow", server=SERVER, transport=page)], tell=silent
        ).catch_up()


def test_nothing_is_written_of_a_training_that_was_not_started_or_whose_id_is_unsafe() -> None:
    mlflow = FakeMlflow()
    copying(Plane(status="created"), mlflow).catch_up()
    assert mlflow.runs == {}
    with pytest.raises(CannotTrack, match="not be safe in paths"):
        copying(Plane(ended(1), id="../x"), mlflow).catch_up()
