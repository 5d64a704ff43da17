"""Events of rounds, and of clients' parts in them."""

from dataclasses import replace
from typing import get_args

import pytest

from app.domain.events.rounds import ParticipationSkipped, doubt_of, end_of, end_of_part, planned_of
from app.domain.rounds import ENDED, Participation, ParticipationStatus
from app.domain.summaries import TargetDoubt
from tcsfeel.wire.tasks import TaskKind
from tests.store.samples import a_round


def test_each_status_has_its_event() -> None:
    ends: tuple[ParticipationStatus, ...] = ("received", "rejected", "failed", "skipped")
    pairs: tuple[tuple[TaskKind, str], ...] = (("fit", "participation"), ("evaluate", "evaluation"))
    for kind, of_kind in pairs:
        for status in ends:
            part = Participation(kind=kind, client_id="c", status=status, reason="why", num_examples=7)
            event = end_of_part(a_round(), part)
            assert (event.type, event.client_id, event.reason) == (f"{of_kind}.{status}", "c", "why")
            skipped = (kind, status) == ("fit", "skipped")
            assert event.data().get("num_examples") == (None if skipped else 7)
    for ended in ENDED:
        end = end_of(a_round(status=ended, number=4, average_accuracy=0.5, failure_reason="why"))
        assert (end.type, end.round, end.accuracy, end.reason) == (f"round.{ended}", 4, 0.5, "why")


def test_the_end_of_a_round_has_one_shape() -> None:
    ends = {status: end_of(a_round(status=status)).data() for status in ENDED}
    assert {frozenset(data) for data in ends.values()} == {
        frozenset({"accuracy", "loss", "goal_value", "reason", "model", "cost"})
    }


def test_a_doubt_names_the_client_and_the_mean_without_it() -> None:
    event = doubt_of(a_round(number=4, goal_value=0.9), TargetDoubt(client_id="c", mean=0.4))
    assert event.place() == {"training_id": "t", "round": 4, "client_id": "c"}
    assert event.data() == {"value": 0.9, "without": 0.4}


def test_the_end_of_a_round_tells_what_was_measured_and_what_it_cost() -> None:
    measured = a_round(
        number=4, status="completed", average_accuracy=0.5, average_loss=0.7, goal_value=0.6, model="f" * 64,
        communication_cost=3.5,
    )  # fmt: skip
    event = end_of(measured)
    assert event.place() == {"training_id": "t", "round": 4, "client_id": None}
    assert event.data() == {
        "accuracy": 0.5,
        "loss": 0.7,
        "goal_value": 0.6,
        "reason": None,
        "model": "f" * 64,
        "cost": 3.5,
    }


ONLY_OF_FITS = ("relay", "begun_in", "base_model", "staleness", "num_steps", "asked_steps")


@pytest.mark.parametrize("kind", get_args(TaskKind))
def test_the_end_of_a_clients_part_tells_what_it_reported(kind: TaskKind) -> None:
    part = Participation(
        client_id="c", kind=kind, status="received", num_examples=7, loss=0.7, accuracy=0.5, metrics={"f1": 0.4},
        seconds=2.5,
    )  # fmt: skip
    event = end_of_part(a_round(number=4), part)
    assert event.place() == {"training_id": "t", "round": 4, "client_id": "c"}
    assert event.data() == {
        "reason": None,
        "num_examples": 7,
        "loss": 0.7,
        "accuracy": 0.5,
        "metrics": {"f1": 0.4},
        "seconds": 2.5,
    } | (dict.fromkeys(ONLY_OF_FITS) if kind == "fit" else {})
    assert end_of_part(a_round(), replace(part, metrics={})).data()["metrics"] is None


def test_a_client_that_keeps_its_task_says_where_it_began() -> None:
    part = Participation(client_id="c", status="carried", reason="at work", begun_in=2, base_model="b" * 64)
    event = end_of_part(a_round(number=4), part)
    assert event.type == "participation.carried"
    assert event.data() == {"reason": "at work", "begun_in": 2, "base_model": "b" * 64}
    received = end_of_part(a_round(number=4), replace(part, status="received", staleness=1)).data()
    assert [received[name] for name in ("begun_in", "base_model", "staleness")] == [2, "b" * 64, 1]
    parts = (Participation(client_id="a"), replace(part, status="training"))
    assert planned_of(a_round(participations=parts)).data() == {"clients": ("a",), "cost": 0.0, "carried": ("c",)}


def test_a_client_that_hands_over_a_part_of_its_work_says_how_much_that_is() -> None:
    part = Participation(client_id="c", status="received", num_steps=3, asked_steps=12)
    told = end_of_part(a_round(number=4), part).data()
    assert (told["num_steps"], told["asked_steps"]) == (3, 12)
    assert end_of_part(a_round(number=4), replace(part, asked_steps=None)).data()["num_steps"] is None


def test_a_client_for_whose_update_a_round_stopped_to_wait_has_its_place_and_a_reason() -> None:
    event = end_of_part(a_round(number=4), Participation(client_id="c", status="skipped", reason="too late"))
    assert event == ParticipationSkipped(training_id="t", round=4, client_id="c", reason="too late")
