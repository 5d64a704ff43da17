"""The catalog of events: it is whole, and each event has the shape that it lists."""

import dataclasses
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

from app.domain.breaker import BreakerState
from app.domain.clients import ClientStatus
from app.domain.evaluations import Evaluation, EvaluationStatus
from app.domain.events import CATALOG, Event, Subject
from app.domain.events.clients import BREAKERS, HEALTH, ClientUpdated
from app.domain.events.event import PLACES
from app.domain.events.rounds import doubt_of, end_of, end_of_evaluation, end_of_part
from app.domain.events.trainings import TrainingRoundRequested, change_of
from app.domain.progress import Progress, ProgressState
from app.domain.rounds import ENDED, Participation, ParticipationStatus
from app.domain.trainings import TrainingStatus
from tcsfeel.aggregation.measurements import TargetDoubt
from tests.store.samples import a_round, training

KINDS = [pytest.param(kind, id=name) for name, kind in CATALOG.items()]


def descendants(kind: type[Event]) -> Iterator[type[Event]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def test_every_kind_of_event_is_in_the_catalog_by_its_own_type() -> None:
    typed = {(kind.__module__, kind.__name__) for kind in descendants(Event) if hasattr(kind, "type")}
    assert typed == {(kind.__module__, kind.__name__) for kind in CATALOG.values()}
    assert {name: kind.type for name, kind in CATALOG.items()} == {name: name for name in CATALOG}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_says_what_it_is_about_and_what_each_field_tells(kind: type[Event]) -> None:
    assert len(kind.type) <= 64
    assert kind.subject in get_args(Subject)
    assert kind.added_in
    assert kind.__doc__
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if field.name in PLACES:
            assert hints[field.name] in {str, int}
        else:
            (told,) = hints[field.name].__metadata__
            assert isinstance(told, str)
            assert told


def test_an_event_is_about_a_place_and_tells_the_rest() -> None:
    event = TrainingRoundRequested(training_id="t", round=3, was="paused")
    assert event.place() == {"training_id": "t", "round": 3, "client_id": None}
    assert event.data() == {"was": "paused"}
    plain = ClientUpdated(client_id="c", fields=("tags",))
    assert plain.place() == {"training_id": None, "round": None, "client_id": "c"}
    assert plain.data() == {"fields": ("tags",), "url": None, "was": None, "token_forgotten": False}


def test_each_status_has_its_event() -> None:
    assert {status: kind.type for status, kind in HEALTH.items()} == {
        status: f"client.{status}" for status in get_args(ClientStatus)
    }
    assert {state: kind.type for state, kind in BREAKERS.items()} == {
        state: f"breaker.{state}" for state in get_args(BreakerState)
    }
    for status in get_args(EvaluationStatus):
        event = end_of_evaluation(a_round(), Evaluation(client_id="c", status=status, reason="why", loss=0.5))
        assert (event.type, event.client_id, event.reason, event.loss) == (f"evaluation.{status}", "c", "why", 0.5)
    ends: tuple[ParticipationStatus, ...] = ("received", "rejected", "failed")
    for status in ends:
        part = end_of_part(a_round(), Participation(client_id="c", status=status, reason="why", num_examples=7))
        assert (part.type, part.client_id, part.reason) == (f"participation.{status}", "c", "why")
        assert part.num_examples == 7
    for ended in ENDED:
        end = end_of(a_round(status=ended, number=4, average_accuracy=0.5, failure_reason="why"))
        assert (end.type, end.round, end.accuracy, end.reason) == (f"round.{ended}", 4, 0.5, "why")


def test_the_end_of_a_round_has_one_shape() -> None:
    ends = {status: end_of(a_round(status=status)).data() for status in ENDED}
    assert {frozenset(data) for data in ends.values()} == {
        frozenset({"accuracy", "loss", "goal_value", "reason", "model", "cost"})
    }


def test_a_doubt_names_the_client_and_the_mean_without_it() -> None:
    event = doubt_of(a_round(goal_value=0.9), TargetDoubt(client_id="c", mean=0.4))
    assert (event.client_id, event.data()) == ("c", {"value": 0.9, "without": 0.4})


@pytest.mark.parametrize("status", get_args(TrainingStatus))
def test_a_training_that_stops_has_an_event_and_one_that_runs_has_that_of_who_asked(status: TrainingStatus) -> None:
    before = training(status="created" if status == "running" else "running")
    after = training(status=status, stop_reason="max_rounds", stop_detail="why")
    event = change_of(before, after)
    if status in {"created", "running"}:
        assert event is None
    else:
        assert event is not None
        assert (event.type, event.data()) == (
            f"training.{status}",
            {"was": "running", "reason": "max_rounds", "detail": "why"},
        )


@pytest.mark.parametrize("state", get_args(ProgressState))
def test_progress_has_an_event_where_its_state_changes(state: ProgressState) -> None:
    known: dict[str, Any] = {"status": "running"}
    was: ProgressState = "stalled" if state == "moving" else "moving"
    before = training(**known, progress=Progress(was, 1.0, None))
    after = training(**known, progress=Progress(state, 2.0, "why"))
    event = change_of(before, after)
    assert event is not None
    assert (event.type, event.data()) == (f"training.{state}", {"was": was, "reason": "why"})
    assert change_of(after, training(**known, progress=Progress(state, 2.0, "another reason"))) is None
    assert change_of(training(**known), after) is None
    assert change_of(before, training(**known)) is None
