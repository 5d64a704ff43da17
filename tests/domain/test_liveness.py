"""When a client counts as silent, when it is probed, and what a probe changes."""

import math
from dataclasses import replace

import pytest

from app.domain.breaker import Breaker
from app.domain.clients import Client, ClientStatus, Profile
from app.domain.failures import Failure
from app.domain.liveness import alive_again, liveness, needs_probe, probed, silence

PROFILE = Profile(url="http://a", data_size=10, compute_capacity=2.0, bandwidth=8.0, latency=5.0)
CLIENT = Client(id="a", profile=PROFILE, created_at=100.0, updated_at=100.0)


@pytest.mark.parametrize(
    ("silent", "status"),
    [(0.0, "healthy"), (30.0, "healthy"), (30.001, "suspect"), (90.0, "suspect"), (90.001, "down"), (1e9, "down")],
)
def test_a_client_is_suspect_after_one_missed_interval_and_down_after_three(
    silent: float, status: ClientStatus
) -> None:
    assert liveness(silent, interval=30.0) == status


@pytest.mark.parametrize(
    ("created_at", "last_seen_at", "seconds"),
    [
        (100.0, None, 900.0),
        (100.0, 990.0, 10.0),
        (100.0, 1000.0, 0.0),
        (100.0, 1030.0, 0.0),  # an interval ahead, as two clocks may be
        (100.0, 1031.0, 900.0),  # as if it had not been seen since it was registered
        (1031.0, None, math.inf),
        (1031.0, 990.0, 10.0),
        (1031.0, 1031.0, math.inf),
    ],
)
def test_a_sign_of_life_from_the_future_is_not_believed(
    created_at: float, last_seen_at: float | None, seconds: float
) -> None:
    value = Client(id="a", profile=PROFILE, created_at=created_at, updated_at=0.0, last_seen_at=last_seen_at)
    assert silence(value, now=1000.0, interval=30.0) == seconds


def test_a_client_that_was_never_believably_seen_is_down() -> None:
    assert liveness(math.inf, interval=30.0) == "down"


@pytest.mark.parametrize(
    ("status", "silent", "wanted"),
    [
        ("healthy", 0.0, False),
        ("healthy", 30.0, False),
        ("healthy", 30.5, True),
        ("suspect", 0.0, True),  # it did not answer when it was called
        ("down", 0.0, True),
    ],
)
def test_a_client_is_probed_after_a_missed_sign_of_life_or_a_failed_call(
    status: ClientStatus, silent: float, *, wanted: bool
) -> None:
    value = replace(CLIENT, status=status, last_seen_at=1000.0 - silent)
    assert needs_probe(value, now=1000.0, interval=30.0) is wanted


@pytest.mark.parametrize("status", ["healthy", "suspect", "down"])
def test_a_probe_that_an_agent_answers_makes_its_client_healthy(status: ClientStatus) -> None:
    value = replace(CLIENT, status=status, last_seen_at=1.0)
    assert probed(value, 1000.0, 30.0, alive=True) == replace(value, status="healthy", last_seen_at=1000.0)


OUT_OF_REACH = Breaker(
    state="open",
    openings=1,
    opened_at=900.0,
    retry_at=1030.0,
    last_failures=(Failure(phase="fit", reason="no answer", kind="unreachable"),),
)


@pytest.mark.parametrize(("status", "retry_at"), [("healthy", 1030.0), ("suspect", 1000.0), ("down", 1000.0)])
def test_a_sign_of_life_after_a_silence_lets_the_breaker_admit_a_probe(status: ClientStatus, retry_at: float) -> None:
    value = replace(CLIENT, status=status, last_seen_at=1.0, breaker=OUT_OF_REACH)
    after = replace(value, status="healthy", last_seen_at=1000.0, breaker=replace(OUT_OF_REACH, retry_at=retry_at))
    assert alive_again(value, 1000.0) == after
    assert probed(value, 1000.0, 30.0, alive=True) == after


@pytest.mark.parametrize(
    "breaker",
    [
        Breaker(),
        replace(OUT_OF_REACH, last_failures=()),
        replace(OUT_OF_REACH, last_failures=(*OUT_OF_REACH.last_failures, Failure(phase="fit", reason="NaN"))),
        replace(OUT_OF_REACH, openings=2),
        replace(OUT_OF_REACH, state="half_open", probe_at=990.0, probe_until=1050.0),
        OUT_OF_REACH.isolate(900.0),
    ],
)
def test_no_other_breaker_admits_a_probe_earlier(breaker: Breaker) -> None:
    assert breaker.hasten(1000.0) == breaker


@pytest.mark.parametrize(
    ("before", "silent", "after"),
    [
        ("healthy", 30.0, "healthy"),
        ("healthy", 31.0, "suspect"),
        ("suspect", 30.0, "suspect"),  # an older sign of life does not outweigh the probe
        ("suspect", 91.0, "down"),
        ("down", 30.0, "down"),
        ("down", 31.0, "suspect"),
    ],
)
def test_a_probe_that_fails_leaves_the_status_that_the_silence_gives(
    before: ClientStatus, silent: float, after: ClientStatus
) -> None:
    value = replace(CLIENT, status=before, last_seen_at=1000.0 - silent)
    assert probed(value, 1000.0, 30.0, alive=False) == replace(value, status=after)
