"""Who is to blame for an answer that is missing, and how the parts of clients end that are not waited for."""

from typing import get_args

import pytest

from app.domain.breaker import Breaker
from app.domain.clients import Client, Profile
from app.domain.lateness import excuse, gave_nothing, lost_to_absence, missed, skipped
from app.domain.rounds import Participation, ParticipationStatus
from app.domain.tasks import TaskRun

PROFILE = Profile(url="http://a", data_size=10, compute_capacity=1.0, bandwidth=8.0, latency=5.0, reliability=0.9)
MOVING = "a transfer to or from it was still moving: its link is slow, or the time for the round is short"
NO_SLOT = "the client was never contacted: the server had no free slot"
NOT_ASKED = "the server had not asked for its answer yet when the round continued"


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (TaskRun(), NOT_ASKED),
        (TaskRun(asked_at=0.0), NO_SLOT),
        (TaskRun(asked_at=0.0, resumed=True), NOT_ASKED),
        (TaskRun(asked_at=0.0, started_at=10.0, answered=True), "the server did not check its answer in time"),
        (
            TaskRun(asked_at=0.0, started_at=51.0),
            "the server had no free slot for long: of 100 s, the client had the task for only 49 s",
        ),
        (TaskRun(asked_at=0.0, started_at=50.0), None),
        (TaskRun(asked_at=0.0, started_at=0.0, moved_at=40.0), MOVING),
        (TaskRun(asked_at=0.0, started_at=0.0, moved_at=39.0), None),
        (TaskRun(asked_at=0.0, started_at=0.0), None),
        (TaskRun(asked_at=40.0, started_at=70.0), None),
    ],
)
def test_a_client_is_to_blame_only_where_it_had_a_chance(run: TaskRun, reason: str | None) -> None:
    assert excuse(run, 100.0) == reason


def test_a_participation_that_is_skipped_keeps_what_its_task_has_cost() -> None:
    part = Participation(client_id="a", status="training", attempts=1, bytes_sent=50, score=0.5)
    run = TaskRun(attempts=2, bytes_sent=90, bytes_received=7, started_at=5.0)
    assert skipped(part, run, "it was late", 12.0) == Participation(
        client_id="a",
        status="skipped",
        reason="it was late",
        attempts=2,
        bytes_sent=90,
        bytes_received=7,
        score=0.5,
        seconds=7.0,
        finished_at=12.0,
    )


@pytest.mark.parametrize(("late", "reliability"), [(True, 0.7 * 0.9), (False, None)])
def test_a_client_that_is_missed_gives_its_permit_back_and_is_less_reliable_where_it_was_late(
    late: bool, reliability: float | None
) -> None:
    probed = Breaker(state="half_open", probe_at=1.0, probe_until=9.0)
    after = missed(Client(id="a", profile=PROFILE, created_at=0.0, updated_at=0.0, breaker=probed), late=late)
    assert after.breaker == Breaker(state="half_open")
    assert after.measured.reliability == (None if reliability is None else pytest.approx(reliability))


def test_clients_that_failed_or_have_not_answered_gave_nothing() -> None:
    parts = [Participation(client_id=status, status=status) for status in get_args(ParticipationStatus)]
    assert gave_nothing(parts) == ["pending", "training", "failed"]


@pytest.mark.parametrize(
    ("received", "missing", "away", "outage"),
    [
        (2, 0, 0.0, False),
        (3, 0, 0.0, True),
        (1, 4, 0.25, False),
        (1, 4, 0.5, True),
        (0, 3, 1.0, True),
        (0, 2, 1.0, False),
    ],
)
def test_it_is_an_outage_if_those_that_are_away_are_as_many_as_the_quorum_lacks(
    received: int, missing: int, away: float, outage: bool
) -> None:
    parts = [
        *(Participation(client_id=f"r{number}", status="received") for number in range(received)),
        *(Participation(client_id=f"f{number}", status="failed") for number in range(missing)),
    ]
    assert lost_to_absence(parts, 3, missing=missing, away=away) is outage
