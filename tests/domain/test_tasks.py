"""How far a task has come, how long its agent was seen to be at work, and what it showed of its client."""

from dataclasses import replace

import pytest

from app.domain.breaker import Breaker
from app.domain.clients import Client, Measured, Profile
from app.domain.rounds import Participation, ParticipationStatus
from app.domain.tasks import Observation, TaskRun, Watch, learned

PROFILE = Profile(url="http://a", data_size=10, compute_capacity=1.0, bandwidth=8.0, latency=5.0, reliability=0.5)
CLIENT = Client(id="a", profile=PROFILE, created_at=0.0, updated_at=0.0, status="suspect", last_seen_at=3.0)
PART = Participation(client_id="a", attempts=2, bytes_sent=20, bytes_received=6)


def test_a_run_goes_on_from_what_its_participation_has_cost() -> None:
    assert TaskRun.of(PART) == TaskRun(attempts=2, bytes_sent=20, bytes_received=6)


@pytest.mark.parametrize(
    ("run", "cost"),
    [
        (TaskRun(), (2, 20, 6)),
        (TaskRun(attempts=3, bytes_sent=30, bytes_received=12), (3, 30, 12)),
        (TaskRun(attempts=1, bytes_sent=30, bytes_received=5), (2, 30, 6)),
    ],
)
def test_a_participation_is_charged_what_its_task_has_cost_once(run: TaskRun, cost: tuple[int, int, int]) -> None:
    charged = run.charged(PART)
    assert (charged.attempts, charged.bytes_sent, charged.bytes_received) == cost
    assert (
        run.charged(charged) == charged == replace(PART, attempts=cost[0], bytes_sent=cost[1], bytes_received=cost[2])
    )


@pytest.mark.parametrize(("started_at", "seconds"), [(None, None), (0.0, 12.0), (5.0, 7.0)])
def test_a_task_lasts_from_its_first_call(started_at: float | None, seconds: float | None) -> None:
    assert TaskRun(asked_at=1.0, started_at=started_at).seconds(12.0) == seconds


def test_a_result_that_comes_with_the_hand_over() -> None:
    watch = Watch().after("result", asked=100.0, now=112.0, body_seconds=2.0)
    assert watch.seconds == 10.0  # 12 s, of which its body took 2 s to come in


def test_only_certain_work_counts() -> None:
    watch = Watch().after("working", asked=100.0, now=101.0)  # the agent took 1 s to accept it, which is no work
    assert watch.seconds == 1.0  # the call itself waited
    watch = watch.after("working", asked=105.0, now=110.0)
    watch = watch.after("result", asked=150.0, now=153.5, body_seconds=0.5)  # the server had no place for it for 40 s
    assert watch.seconds == 12.0  # 101 to 110, and 3 s


def test_work_that_was_lost_does_not_count_and_a_clock_that_went_back_takes_nothing_away() -> None:
    watch = Watch()
    for answer, asked, now in [
        ("working", 100.0, 100.0),
        ("working", 100.0, 150.0),
        ("unknown", 150.0, 150.0),
        ("working", 150.0, 150.0),
        ("working", 150.0, 90.0),
        ("result", 90.0, 91.0),
    ]:
        watch = watch.after(answer, asked=asked, now=now)
    assert watch.seconds == 1.0
    assert Watch().after("result", asked=100.0, now=90.0).seconds == 0.0


def test_only_work_since_a_task_was_lost_counts() -> None:
    watch = Watch()
    for answer, at in (("working", 0.0), ("working", 50.0), ("unknown", 60.0), ("working", 70.0), ("working", 75.0)):
        watch = watch.after(answer, asked=at, now=at)
    assert watch.seconds == 5.0


def test_an_agent_that_is_busy_has_not_lost_its_work() -> None:
    watch = Watch().after("working", asked=0.0, now=0.0).after("busy", asked=5.0, now=5.0)
    assert watch.after("working", asked=9.0, now=9.0).seconds == 9.0


def test_an_update_that_came_in_is_credited_to_its_client() -> None:
    seen = Observation(excused=True, bandwidth=16.0, train_seconds=4.0, quality=0.25)
    after = learned(CLIENT, replace(PART, status="received", finished_at=9.0), seen)
    reliability = 0.5 + 0.3 * (1.0 - 0.5)
    measured = Measured(reliability=reliability, train_seconds=4.0, bandwidth=16.0, last_update_quality=0.25)
    assert after == replace(CLIENT, status="healthy", rounds_completed=1, last_seen_at=9.0, measured=measured)


@pytest.mark.parametrize(("excused", "reliability"), [(False, 0.5 + 0.3 * (0.0 - 0.5)), (True, None)])
@pytest.mark.parametrize("status", ["failed", "rejected"])
def test_an_update_that_is_missing_makes_a_client_less_reliable_unless_the_server_is_to_blame(
    status: ParticipationStatus, excused: bool, reliability: float | None
) -> None:
    seen = Observation(excused=excused, bandwidth=16.0, train_seconds=4.0, quality=0.25)
    after = learned(CLIENT, replace(PART, status=status, finished_at=9.0), seen)
    assert after == replace(CLIENT, measured=Measured(reliability=reliability, bandwidth=16.0))
    assert after.breaker == Breaker()
