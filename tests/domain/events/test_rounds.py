"""Events of rounds, and of clients' parts in them."""

from app.domain.events.rounds import doubt_of, end_of, end_of_part
from app.domain.rounds import ENDED, Participation, ParticipationStatus
from tcsfeel.aggregation.measurements import TargetDoubt
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
    event = doubt_of(a_round(goal_value=0.9), TargetDoubt(client_id="c", mean=0.4))
    assert (event.client_id, event.data()) == ("c", {"value": 0.9, "without": 0.4})
