"""What reports of outside coordinators change of a client, with numbers worked out by hand."""

import random
from dataclasses import replace

import pytest

from app.domain.breaker import Breaker
from app.domain.clients import Client, Measured
from app.domain.failures import Failure, FailureKind
from app.domain.reports import Phase, Report, reported
from tests.store.samples import client

NOW = 1_000.0


class Middle(random.Random):
    """No jitter either way."""

    def random(self) -> float:
        return 0.5


def after(start: Client, *reports: Report, now: float = NOW) -> Client:
    for report in reports:
        start = reported(start, report, now, Middle())
    return start


def failure(kind: FailureKind = "unreachable", phase: Phase = "fit") -> Report:
    return Report(failure=Failure(phase=phase, kind=kind, reason="away"), phase=phase)


def test_a_success_is_a_sign_of_life_and_counts_for_the_averages() -> None:
    measured = Measured(reliability=0.5, train_seconds=10.0, last_update_quality=0.2)
    found = after(client(status="down", measured=measured), Report(seconds=20.0, update_quality=0.7))
    assert (found.status, found.last_seen_at) == ("healthy", NOW)
    assert found.measured.reliability == pytest.approx(0.5 + 0.3 * 0.5)
    assert found.measured.train_seconds == pytest.approx(13.0)
    assert found.measured.last_update_quality == pytest.approx(0.35)
    assert found.breaker.outcomes == ("ok",)


def test_a_failure_counts_for_reliability_alone_and_is_no_sign_of_life() -> None:
    known = client(status="suspect", measured=Measured(reliability=0.8, train_seconds=10.0))
    found = after(known, replace(failure(), seconds=99.0))
    assert found.measured.reliability == pytest.approx(0.8 * 0.7)
    assert found.measured.train_seconds == 10.0
    assert (found.status, found.last_seen_at) == ("suspect", None)
    assert found.failures.unreachable == 1


def test_a_reliability_that_is_told_takes_the_place_of_the_average() -> None:
    assert after(client(measured=Measured(reliability=0.8)), Report(reliability=0.25)).measured.reliability == 0.25


def test_evaluations_do_not_count_for_the_averages() -> None:
    known = client(measured=Measured(reliability=0.8))
    assert after(known, Report(phase="evaluate", seconds=3.0)).measured == known.measured
    assert after(known, failure(phase="evaluate")).measured == known.measured


def test_three_failures_in_a_row_open_the_breaker() -> None:
    opened = after(client(), failure(), failure("faulty"), failure()).breaker
    assert (opened.state, opened.retry_at, opened.cause) == ("open", NOW + 30, "3 failures in a row")


def test_slow_successes_open_the_breaker() -> None:
    assert after(client(), *[Report(slow=True)] * 5).breaker.state == "open"


def test_a_wrong_evaluation_leaves_the_breaker_and_counts_as_one() -> None:
    found = after(client(), *[failure("faulty", "evaluate")] * 3)
    assert (found.breaker, found.failures.wrong_evaluations) == (Breaker(), 3)
    assert after(found, Report(phase="evaluate")).failures.wrong_evaluations == 0


def test_a_report_for_which_the_time_of_a_probe_has_come_counts_as_the_probe() -> None:
    opened = after(client(), *[failure()] * 3)
    assert after(opened, Report(), now=NOW + 30).breaker.state == "closed"
    again = after(opened, failure(), now=NOW + 30).breaker
    assert (again.state, again.retry_at, again.openings) == ("open", NOW + 90, 2)


def test_a_report_does_not_move_a_breaker_that_admits_no_probe() -> None:
    opened = after(client(), *[failure()] * 3)
    probed = replace(opened, breaker=Breaker(state="half_open", probe_at=NOW, probe_until=NOW + 60))
    isolated = replace(opened, breaker=Breaker().isolate(NOW))
    for known in (opened, probed, isolated):
        for report in (Report(), failure()):
            found = after(known, report, now=NOW + 1)
            assert found.breaker == known.breaker
            assert found.measured != known.measured
    assert after(isolated, failure(), now=NOW + 9_999).failures.unreachable == 4


def test_the_outcome_of_a_report_is_a_word() -> None:
    assert [report.outcome for report in (Report(), failure(), failure("faulty"))] == [
        "success",
        "unreachable",
        "faulty",
    ]
