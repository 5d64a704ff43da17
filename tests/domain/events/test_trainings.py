"""Events of trainings."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from app.domain.events.trainings import TrainingPatternsUnmatched, change_of, changes_of, patterns_unmatched
from app.domain.parameter_groups import Unmatched
from app.domain.progress import Progress, ProgressState
from app.domain.trainings import SelectionConfig, TrainingConfig, TrainingStatus
from tests.store.samples import training


@pytest.mark.parametrize("status", get_args(TrainingStatus))
def test_a_training_that_stops_has_an_event_and_one_that_runs_has_that_of_who_asked(status: TrainingStatus) -> None:
    before = training(status="created" if status == "running" else "running")
    after = training(status=status, stop_reason="max_rounds", stop_detail="why")
    event = change_of(before, after)
    if status in {"created", "running"}:
        assert event is None
    else:
        assert event is not None
        assert (event.type, event.place()["training_id"]) == (f"training.{status}", "t")
        assert event.data() == {"was": "running", "reason": "max_rounds", "detail": "why"}


@pytest.mark.parametrize("state", get_args(ProgressState))
def test_progress_has_an_event_where_its_state_changes(state: ProgressState) -> None:
    known: dict[str, Any] = {"status": "running"}
    was: ProgressState = "stalled" if state == "moving" else "moving"
    before = training(**known, progress=Progress(was, 1.0, None))
    after = training(**known, progress=Progress(state, 2.0, "why"))
    event = change_of(before, after)
    assert event is not None
    assert (event.type, event.place()["training_id"]) == (f"training.{state}", "t")
    assert event.data() == {"was": was, "reason": "why"}
    assert change_of(after, training(**known, progress=Progress(state, 2.0, "another reason"))) is None
    assert change_of(training(**known), after) is None
    assert change_of(before, training(**known)) is None


def test_a_change_has_an_event_for_each_field_that_differs() -> None:
    before = TrainingConfig(name="t", hyperparameters={"lr": 0.1, "epochs": 2})
    after = replace(
        before, max_rounds=7, hyperparameters={"lr": 0.1, "beta": 0.9}, selection=SelectionConfig(min_clients=3)
    )
    found = {event.field: (event.training_id, event.was, event.now) for event in changes_of("t", before, after)}
    assert found == {
        "hyperparameters.beta": ("t", None, 0.9),
        "hyperparameters.epochs": ("t", 2, None),
        "max_rounds": ("t", 100, 7),
        "selection.min_clients": ("t", 10, 3),
    }
    assert [event.field for event in changes_of("t", before, after)] == sorted(found)
    assert changes_of("t", before, before) == []


def test_patterns_that_match_no_tensor_have_one_event_with_those_of_each_group() -> None:
    found = Unmatched(averaged=("*.emma",), local=("bm.*", "x"), frozen=("pos*",))
    assert patterns_unmatched("t", found) == [
        TrainingPatternsUnmatched(training_id="t", averaged=["*.emma"], local=["bm.*", "x"], frozen=["pos*"])
    ]
    assert patterns_unmatched("t", Unmatched()) == []
