"""What is known of a client: claims, moving averages, signs of life."""

import math
from dataclasses import replace

import pytest

from app.domain.breaker import Breaker
from app.domain.clients import (
    Client,
    ClientStatus,
    Endpoint,
    Health,
    Measured,
    Profile,
    liveness,
    moving_average,
    needs_probe,
    probed,
    silence,
)
from tcsfeel.selection.types import Candidate

PROFILE = Profile(
    url="http://a",
    data_size=10,
    compute_capacity=2.0,
    bandwidth=8.0,
    latency=5.0,
    data_distribution=[1.0, 3.0],
    reliability=0.9,
    server_cost=0.5,
    auth_token="secret",
)

CLIENT = Client(id="a", profile=PROFILE, created_at=0.0, updated_at=0.0)


def candidate(measured: Measured) -> Candidate:
    return Client(id="a", profile=PROFILE, created_at=0.0, updated_at=0.0, measured=measured).candidate()


@pytest.mark.parametrize(
    ("average", "observation", "result"),
    [(None, 4.0, 4.0), (10.0, 20.0, 13.0), (1.0, 0.0, 0.7), (0.0, 1.0, 0.3), (0.5, 0.5, 0.5)],  # a + 0.3 (o - a)
)
def test_a_moving_average_takes_three_tenths_of_what_is_new(
    average: float | None, observation: float, result: float
) -> None:
    assert moving_average(average, observation) == pytest.approx(result)


def test_what_was_not_observed_stays_as_it_was() -> None:
    measured = Measured(reliability=1.0, latency=10.0).observe(reliability=0.0, bandwidth=7.0, latency=None)
    assert measured == Measured(reliability=pytest.approx(0.7), bandwidth=7.0, latency=10.0)  # type: ignore[arg-type]  # approx


def test_two_failures_after_a_success_leave_half_the_reliability() -> None:
    measured = Measured().observe(reliability=1.0).observe(reliability=0.0).observe(reliability=0.0)
    assert measured.reliability == pytest.approx(0.49)  # 0.7 * 0.7


def test_selection_sees_the_claims_of_a_client_that_was_never_measured() -> None:
    assert candidate(Measured()) == Candidate(
        client_id="a",
        data_size=10,
        data_distribution=[1.0, 3.0],
        compute_capacity=2.0,
        bandwidth=8.0,
        latency=5.0,
        reliability=0.9,
        server_cost=0.5,
        train_seconds=None,
        update_quality=None,
    )


def test_selection_sees_what_was_measured_even_if_it_is_zero() -> None:
    seen = candidate(Measured(reliability=0.0, train_seconds=3.0, bandwidth=1.5, latency=0.0, last_update_quality=0.25))
    assert (seen.reliability, seen.bandwidth, seen.latency) == (0.0, 1.5, 0.0)
    assert (seen.train_seconds, seen.update_quality) == (3.0, 0.25)
    assert (seen.data_size, seen.compute_capacity, seen.server_cost) == (10, 2.0, 0.5)


@pytest.mark.parametrize(
    ("silent", "status"),
    [(0.0, "healthy"), (30.0, "healthy"), (30.001, "suspect"), (90.0, "suspect"), (90.001, "down"), (1e9, "down")],
)
def test_a_client_is_suspect_after_one_missed_interval_and_down_after_three(
    silent: float, status: ClientStatus
) -> None:
    assert liveness(silent, interval=30.0) == status


def test_a_profile_does_not_show_its_token() -> None:
    assert "secret" not in repr(PROFILE)


def test_one_outcome_does_not_make_a_client_reliable_or_unreliable() -> None:
    client = Client(id="a", profile=PROFILE, created_at=0.0, updated_at=0.0)
    assert client.observed(reliability=0.0).measured.reliability == pytest.approx(0.63)  # 0.9 - 0.3 * 0.9
    assert client.observed(reliability=1.0, bandwidth=7.0).measured == Measured(
        reliability=pytest.approx(0.93),  # type: ignore[arg-type]  # approx
        bandwidth=7.0,
    )
    assert client.observed(bandwidth=7.0, latency=None).measured == Measured(bandwidth=7.0)


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("http://a", "http://a/base", True),
        ("http://a", "http://A:80/", True),
        ("https://a:443", "https://a", True),
        ("http://a", "https://a", False),
        ("http://a", "http://a:8080", False),
        ("http://a", "http://b", False),
        ("http://a", "http://a.example", False),
        ("http://[::1]:80", "http://[::2]:80", False),
    ],
)
def test_a_token_stays_with_the_address_that_it_was_given_for(before: str, after: str, *, kept: bool) -> None:
    profile = replace(PROFILE, url=before)
    assert profile.changed({"url": after}) == replace(profile, url=after, auth_token="secret" if kept else None)
    for token in ("another", "secret", None):
        changes = {"url": after, "auth_token": token}
        assert profile.changed(changes) == replace(profile, url=after, auth_token=token)
    assert profile.changed({"bandwidth": 1.0}) == replace(profile, bandwidth=1.0)


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


def test_an_update_that_is_withdrawn_leaves_a_client_as_it_was_before_it() -> None:
    before = replace(
        CLIENT,
        rounds_completed=4,
        measured=Measured(reliability=0.6),
        breaker=Breaker(outcomes=("slow", "failed", "failed"), consecutive_failures=2),
    )
    received = replace(before.observed(reliability=1.0), rounds_completed=5)  # 0.6 + 0.3 * 0.4 = 0.72
    received = replace(received, breaker=Breaker(outcomes=("slow", "failed", "failed", "ok")))
    after = received.withdrawn()
    assert after.measured.reliability == pytest.approx(0.6)
    assert replace(after, measured=before.measured) == before


def test_what_was_never_received_cannot_be_withdrawn() -> None:
    failed = replace(CLIENT, breaker=Breaker(outcomes=("failed",)), measured=Measured(reliability=0.2))
    after = failed.withdrawn()
    assert (after.breaker, after.rounds_completed, after.measured.reliability) == (failed.breaker, 0, 0.0)


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


def test_a_client_without_a_key_has_nothing_to_prove() -> None:
    assert CLIENT.unproven is None
    called = CLIENT.endpoint
    assert called == Endpoint(CLIENT.profile.url, CLIENT.profile.auth_token)
    assert CLIENT.identified(called, Health(alive=True), 5.0) is CLIENT
    assert CLIENT.identified(called, Health(alive=False, doubt="unsigned answer"), 5.0) is CLIENT


def test_a_client_whose_agent_was_shut_out_gets_no_tasks_until_it_is_let_in() -> None:
    out = CLIENT.shut_out()
    assert str(out.unproven).startswith("shut out: the key of its agent was revoked")
    assert out.let_in() == CLIENT
    assert CLIENT.let_in() is CLIENT


def test_a_client_with_a_key_is_unproven_until_its_address_has_signed() -> None:
    value = replace(CLIENT, public_key="key")
    assert value.unproven == "unproven: its address has not yet answered with a signature of its device"
    silent = value.identified(value.endpoint, Health(alive=False), 5.0)
    assert silent is value
    doubted = value.identified(value.endpoint, Health(alive=False, doubt="unsigned answer"), 5.0)
    assert doubted.unproven == "unproven: unsigned answer"
    proved = doubted.identified(value.endpoint, Health(alive=True), 6.0)
    assert proved.unproven is None
    later = proved.identified(value.endpoint, Health(alive=False, doubt="unsigned answer"), 7.0)
    assert later.unproven == "unproven: unsigned answer"
    replaced = replace(proved, public_key="another")
    moved = replace(proved, profile=replace(proved.profile, url="http://elsewhere"))
    for changed in (replaced, moved):
        assert changed.unproven == "unproven: its address has not yet answered with a signature of its device"
        assert changed.identified(value.endpoint, Health(alive=True), 8.0) is changed, "it is another address or key"
        assert needs_probe(changed, now=CLIENT.created_at, interval=30.0)
    assert not needs_probe(proved, now=CLIENT.created_at, interval=30.0)
