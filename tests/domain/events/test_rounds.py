"""Events of rounds, and of clients' parts in them."""

from typing import get_args

from app.domain.evaluations import Evaluation, EvaluationStatus
from app.domain.events.rounds import doubt_of, end_of, end_of_evaluation, end_of_part
from app.domain.rounds import ENDED, Participation, ParticipationStatus
from tcsfeel.aggregation.measurements import TargetDoubt
from tests.store.samples import a_round


def test_each_status_has_its_event() -> None:
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
