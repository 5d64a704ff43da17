"""What the owner of a training has stored is what it knows, and only that."""

from dataclasses import replace

import pytest

from app.domain.rounds import Participation, ParticipationStatus, Round
from app.services.rounds.known import Completed, Known, KnownTrainings
from app.store.leases import Lease
from tcsfeel.wire.tasks import TaskKind
from tests.store.samples import a_round, client


def part(client_id: str, status: ParticipationStatus = "training", kind: TaskKind = "fit") -> Participation:
    return Participation(client_id=client_id, status=status, kind=kind)


def round_of(*parts: Participation, goal: int | None = None) -> Round:
    return a_round(participations=parts, evaluations=(), goal=goal)


@pytest.fixture
def known() -> Known:
    value = Known()
    value.begin(1)
    return value


def test_a_round_is_complete_once_each_end_was_stored(known: Known) -> None:
    round_ = round_of(part("a", "received"), part("b"), part("c"))
    known.settled(1, [part("b", "failed")])
    assert known.complete(round_) is None
    known.settled(1, [part("c", "received")])
    ends = (part("a", "received"), part("b", "failed"), part("c", "received"))
    assert known.complete(round_) == replace(round_, participations=ends)


def test_an_end_that_was_changed_since_stays_as_the_round_has_it(known: Known) -> None:
    known.settled(1, [part("a", "received")])
    rejected = round_of(part("a", "rejected"))
    assert known.complete(rejected) == rejected


def test_a_round_is_complete_with_the_ends_that_are_stored_now(known: Known) -> None:
    round_ = round_of(part("a"), part("b"))
    known.settled(1, [part("a", "received")])
    assert known.complete(round_, [part("b", "failed")]) == round_of(part("a", "received"), part("b", "failed"))
    assert known.complete(round_) is None, "until that transaction is committed"


def test_completed_rounds_are_known_before_the_next_round_only(known: Known) -> None:
    completed = Completed(3, 0.5, 1.0)
    assert known.completed_before(5) is None
    known.close(4, completed, None)
    assert known.completed_before(5) == completed
    assert known.completed_before(6) is None


def test_evaluations_end_apart_from_updates(known: Known) -> None:
    round_ = replace(round_of(part("a", "received")), evaluations=(part("a", kind="evaluate"),))
    assert known.complete(round_) is None
    known.settled(1, [part("a", "skipped", "evaluate")])
    complete = known.complete(round_)
    assert complete is not None
    assert [one.status for one in complete.parts] == ["received", "skipped"]


def test_in_doubt_nothing_is_complete_until_the_round_was_read_again(known: Known) -> None:
    known.settled(1, [part("a", "received")])
    known.doubt(2)
    assert known.complete(round_of(part("a"))) is not None
    known.doubt(1)
    assert known.complete(round_of(part("a"))) is None
    known.begin(1)
    assert known.complete(round_of(part("a", "received"))) is not None
    assert known.complete(round_of(part("a"))) is None


def test_another_round_is_not_known(known: Known) -> None:
    known.settled(2, [part("a", "received")])
    known.settled(1, [part("a", "received")])
    assert known.complete(replace(round_of(part("a")), number=2)) is None


def test_a_round_has_enough_with_its_goal_or_when_nobody_else_can_answer(known: Known) -> None:
    round_ = round_of(part("a", "received"), part("b"), part("c"), part("d"), part("e", "failed"), goal=3)
    assert not known.enough(round_, "fit", [part("b", "received")])
    assert known.enough(round_, "fit", [part("b", "received"), part("c", "received")])  # with a these are 3
    assert not known.enough(round_, "fit", [part("b", "failed"), part("c", "failed")])
    known.settled(1, [part("b", "failed"), part("c", "failed")])
    assert known.enough(round_, "fit", [part("d", "failed")])


def test_an_end_that_comes_twice_is_one(known: Known) -> None:
    round_ = round_of(part("a"), part("b"), goal=2)
    assert not known.enough(round_, "fit", [part("a", "received"), part("a", "received")])


def test_evaluations_are_enough_when_all_have_ended(known: Known) -> None:
    evaluations = (part("a", kind="evaluate"), part("b", kind="evaluate"))
    round_ = replace(round_of(part("a", "received"), goal=1), evaluations=evaluations)
    one, other = (part(name, "received", "evaluate") for name in "ab")
    assert not known.enough(round_, "evaluate", [one])
    assert known.enough(round_, "evaluate", [one, other])


def test_a_round_that_is_not_known_waits_for_nothing(known: Known) -> None:
    assert known.enough(replace(round_of(part("a"), part("b")), number=2), "fit", [part("a", "received")])


def test_clients_and_a_fresh_plan_belong_to_their_round(known: Known) -> None:
    known.planned([client("a")])
    known.keep([client("b")])
    assert (known.fresh, list(known.clients)) == (True, ["a", "b"])
    known.begin(2)
    assert (known.fresh, known.clients) == (False, {})


def test_each_lease_has_its_own_knowledge_as_long_as_it_is_held() -> None:
    owners = KnownTrainings()
    first, second = Lease("t", "us", 1), Lease("t", "us", 2)
    owners.by(first).closed = 3
    assert owners.by(Lease("t", "us", 1)).closed == 3
    assert owners.by(second).closed == 0
    del first
    assert owners.by(Lease("t", "us", 1)).closed == 0
