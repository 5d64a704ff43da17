"""The states of a task that its agent asks for."""

from dataclasses import replace
from typing import get_args

import pytest

from app.domain.errors import IllegalTransition
from app.domain.mailbox import OPEN, TRANSITIONS, Delivery, MailedTask, MailEvent, MailState, next_state

TASK = MailedTask(
    id="t.1.a.fit", client_id="a", training_id="t", round=1, kind="fit", document="{}", most_bytes=9, offered_at=10.0,
    deadline_at=70.0,
)  # fmt: skip


@pytest.mark.parametrize("state", get_args(MailState))
@pytest.mark.parametrize("event", get_args(MailEvent))
def test_every_event_leads_to_a_state_or_is_refused(state: MailState, event: MailEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) == TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransition):
            next_state(state, event)


def test_only_the_first_delivery_counts() -> None:
    assert [next_state(state, "deliver") for state in sorted(OPEN)] == ["delivered", "delivered"]
    for state in ("delivered", "cancelled"):
        with pytest.raises(IllegalTransition):
            next_state(state, "deliver")


def test_a_failure_counts_only_for_a_task_that_was_taken() -> None:
    assert Delivery(failure="{}").event == "fail"
    assert Delivery(result="a" * 64).event == "deliver"
    with pytest.raises(IllegalTransition):  # it is the failure of the offer before
        next_state("offered", "fail")


def test_the_time_of_an_agent_ends_when_its_result_begins_to_come() -> None:
    delivered = replace(TASK, taken_at=20.0, delivered_at=50.0, seconds=5.0)
    assert (TASK.worked_seconds, delivered.worked_seconds) == (0.0, 25.0)


def test_the_files_of_a_task_are_its_model_and_its_result() -> None:
    assert TASK.files == set()
    assert replace(TASK, model="m", result="r").files == {"m", "r"}
