"""Tasks that outlive their round: which may, what becomes of them, and how much their updates weigh."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.breaker import Breaker
from app.domain.carrying import (
    CARRIED,
    CARRIES_NO_MORE,
    DOWN,
    HAS_A_NEWER_ONE,
    ISOLATED,
    REMOVED,
    TOO_OLD,
    Carried,
    Leaving,
    began,
    busy_reason,
    carried,
    discount,
    divided,
    free_places,
    has_expired,
    may_be_carried,
    seconds_more,
    taken_in,
    task_of,
)
from app.domain.clients import Client
from app.domain.rounds import Participation, ParticipationStatus, quorum_of
from app.domain.tasks import TaskRun
from app.domain.trainings import RoundPolicy
from tcsfeel.aggregation.mean import WEIGHTS
from tcsfeel.aggregation.rules import ROBUST
from tcsfeel.contract.round_policies import CANNOT_CARRY
from tcsfeel.selection.types import SelectionPolicy
from tests.store.samples import a_round
from tests.store.samples import client as client_named

CARRY = RoundPolicy(stragglers="carry", max_staleness=2, deadline_seconds=100.0)
PART = Participation(client_id="a", status="training", score=0.5, components={"cost": 1.0})
CALLED = TaskRun(attempts=1, bytes_sent=70, asked_at=1.0, started_at=2.0)
ROUND = a_round(number=3, base_model="b" * 64)


@pytest.mark.parametrize(("staleness", "factor"), [(0, 1.0), (1, 0.5**0.5), (3, 0.5), (8, 1 / 3), (24, 0.2)])
def test_the_weight_falls_with_the_square_root_of_the_staleness(staleness: int, factor: float) -> None:
    assert discount(staleness) == pytest.approx(factor)


@given(st.integers(0, 10**6))
def test_an_older_update_weighs_less_and_still_something(staleness: int) -> None:
    assert 0.0 < discount(staleness + 1) < discount(staleness) <= 1.0


@pytest.mark.parametrize("status", get_args(ParticipationStatus))
def test_only_who_is_at_work_keeps_its_task(status: ParticipationStatus) -> None:
    assert may_be_carried(CARRY, ROUND, replace(PART, status=status), CALLED) == (status == "training")


def test_nobody_keeps_a_task_unless_the_training_carries_stragglers() -> None:
    assert not may_be_carried(RoundPolicy(), ROUND, PART, CALLED)
    assert not may_be_carried(CARRY, ROUND, replace(PART, kind="evaluate"), CALLED)


def test_a_client_that_was_never_called_has_no_task_but_another_owner_may_have_called_it() -> None:
    assert not may_be_carried(CARRY, ROUND, PART, replace(CALLED, started_at=None))
    assert may_be_carried(CARRY, ROUND, PART, replace(CALLED, started_at=None, resumed=True))  # an earlier owner called
    assert not may_be_carried(CARRY, ROUND, PART, replace(CALLED, answered=True, over=True))  # it was refused
    assert may_be_carried(CARRY, ROUND, PART, replace(CALLED, answered=True))  # nobody has looked at its answer
    assert may_be_carried(CARRY, ROUND, PART, TaskRun())


@pytest.mark.parametrize(("begun_in", "kept"), [(None, True), (2, True), (1, False)])
def test_a_task_may_end_max_staleness_rounds_after_it_began(begun_in: int | None, kept: bool) -> None:
    # In round 4 it is one, two or three rounds old.
    assert may_be_carried(CARRY, ROUND, replace(PART, begun_in=begun_in), CALLED) == kept


def test_a_task_is_carried_twice_and_remembers_where_it_began() -> None:
    first = carried(PART, ROUND, CALLED, now=12.0)
    assert (first.status, first.reason, first.seconds, first.finished_at) == ("carried", CARRIED, 10.0, 12.0)
    assert (first.begun_in, first.base_model, first.attempts, first.bytes_sent) == (3, "b" * 64, 1, 70)

    second = taken_in(Carried(3, first), staleness=1)
    assert second == Participation(
        client_id="a", status="training", attempts=1, score=0.5, components={"cost": 1.0},
        begun_in=3, base_model="b" * 64, staleness=1, sent_before=70,
    )  # fmt: skip
    later = a_round(number=4, base_model="c" * 64)
    third = carried(second, later, TaskRun(bytes_sent=5, asked_at=20.0, started_at=20.0), now=30.0)
    assert (third.begun_in, third.base_model, third.bytes_sent) == (3, "b" * 64, 5)
    assert taken_in(Carried(4, third), staleness=2).sent_before == 75


def test_a_task_keeps_its_id() -> None:
    assert task_of(PART, "t", 3) == "t.3.a.fit"
    assert task_of(replace(PART, begun_in=3), "t", 5) == "t.3.a.fit"
    assert (began(PART, 3), began(replace(PART, begun_in=3), 5)) == (3, 3)
    assert busy_reason(Carried(5, replace(PART, begun_in=3))) == "it still works on its task of round 3"


def test_a_round_takes_in_what_is_not_too_old_and_nothing_if_it_carries_no_more() -> None:
    old, young = (Carried(3, replace(PART, client_id=name, begun_in=number)) for name, number in (("a", 1), ("b", 2)))
    clients = {name: client_named(name) for name in "ab"}
    assert divided(CARRY, [old, young], clients) == ([young], [Leaving(old, TOO_OLD)])
    assert divided(RoundPolicy(), [old, young], clients) == (
        [],
        [Leaving(old, CARRIES_NO_MORE), Leaving(young, CARRIES_NO_MORE)],
    )


@pytest.mark.parametrize(
    ("client", "left"),
    [
        (client_named("a"), None),
        (client_named("a", status="suspect"), None),
        (client_named("a", status="down"), (DOWN, True)),
        (client_named("a", breaker=Breaker().isolate(1.0)), (ISOLATED, False)),
        (None, (REMOVED, False)),
    ],
)
def test_the_task_of_a_client_that_cannot_work_ends(client: Client | None, left: tuple[str, bool] | None) -> None:
    one = Carried(3, replace(PART, begun_in=3))
    clients = {} if client is None else {"a": client}
    assert divided(CARRY, [one], clients) == (([one], []) if left is None else ([], [Leaving(one, *left)]))


def test_a_task_expires_when_no_agent_keeps_it_any_more() -> None:
    one = Carried(3, replace(PART, finished_at=1000.0))  # the round, and two rounds more of 100 s each
    assert [has_expired(one, CARRY, now) for now in (1000.0, 1300.0, 1300.5)] == [False, False, True]


def test_the_newest_of_several_tasks_of_one_client_goes_on() -> None:
    old, new = (Carried(number, replace(PART, begun_in=number)) for number in (1, 2))
    assert divided(CARRY, [old, new], {"a": client_named("a")}) == ([new], [Leaving(old, HAS_A_NEWER_ONE)])


@pytest.mark.parametrize(
    ("selected", "carried_in", "quorum"), [(5, 0, 3), (5, 5, 3), (1, 9, 1), (0, 5, 3)], ids=str
)  # of 0.6
def test_carried_tasks_raise_no_quorum_unless_they_are_alone(selected: int, carried_in: int, quorum: int) -> None:
    parts = [replace(PART, client_id=str(number)) for number in range(selected)]
    parts += [replace(PART, client_id=f"c{number}", begun_in=2) for number in range(carried_in)]
    round_ = replace(ROUND, participations=tuple(parts))
    assert quorum_of(round_, RoundPolicy(quorum=0.6, stragglers="carry")) == quorum
    ended = (replace(part, status="carried", begun_in=part.begun_in or 3) for part in parts)
    assert quorum_of(replace(round_, participations=tuple(ended)), RoundPolicy(quorum=0.6)) == quorum


@pytest.mark.parametrize(("age", "seconds"), [(0, 200.0), (1, 100.0), (2, 0.0), (3, 0.0)])
def test_a_task_says_for_how_long_it_may_be_wanted_beyond_its_round(age: int, seconds: float) -> None:
    assert seconds_more(CARRY, age) == seconds
    assert seconds_more(RoundPolicy(), age) == 0.0


@pytest.mark.parametrize(
    ("tasks", "least", "most"), [(0, 4, 10), (3, 1, 7), (4, 1, 6), (9, 1, 1), (10, 1, 1), (50, 1, 1)]
)
def test_carried_tasks_take_places(tasks: int, least: int, most: int) -> None:
    free = free_places(SelectionPolicy(min_clients=4, max_clients=10), tasks)
    assert (free.min_clients, free.max_clients) == (least, most)


def test_every_rule_takes_stale_updates_or_is_refused() -> None:
    assert {*CANNOT_CARRY} == {*ROBUST, "scaffold"}
    assert {*WEIGHTS} - {*CANNOT_CARRY} == {*WEIGHTS} - {"scaffold"}
