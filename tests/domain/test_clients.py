"""What is known of a client: claims, moving averages, signs of life."""

from dataclasses import replace

import pytest

from app.domain.breaker import Breaker
from app.domain.clients import (
    Client,
    Endpoint,
    Health,
    Measured,
    Profile,
    moving_average,
)
from app.domain.identity import SILENT, Doubt, Proof
from app.domain.liveness import needs_probe
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


def test_a_client_without_a_key_has_nothing_to_prove() -> None:
    assert CLIENT.unproven is None
    called = CLIENT.endpoint
    assert called == Endpoint(CLIENT.profile.url, CLIENT.profile.auth_token, client_id=CLIENT.id)
    assert CLIENT.identified(called, Health(alive=True), 5.0) is CLIENT
    assert CLIENT.identified(called, Health(alive=False, doubt="unsigned answer"), 5.0) is CLIENT


def test_a_client_whose_agent_was_shut_out_gets_no_tasks_until_it_is_let_in() -> None:
    out = replace(CLIENT, public_key="key").kept_out()
    assert str(out.unproven).startswith("shut out: the key of its agent was revoked")
    assert (out.has_to_prove, needs_probe(out, now=CLIENT.created_at, interval=30.0)) == (False, False)
    assert out.let_in() == replace(CLIENT, public_key="key")
    assert out.let_in().has_to_prove
    assert CLIENT.let_in() is CLIENT


def test_a_client_with_a_key_is_unproven_until_its_address_has_signed() -> None:
    value = replace(CLIENT, public_key="key")
    assert value.unproven == "unproven: its address has not yet answered with a signature of its device"
    silent = value.identified(value.endpoint, Health(alive=False), 5.0)
    assert silent is value
    lost = value.identified(value.endpoint, Health(alive=False, silence="the agent could not be reached"), 5.0)
    assert lost.unproven == f"{SILENT}: the agent could not be reached"
    why = "the agent could not be reached"
    assert lost.identity.doubt == Doubt(url="http://a", public_key="key", since=5.0, reason=why, answered=False)
    again = lost.identified(value.endpoint, Health(alive=False, silence="the agent could not be reached"), 6.0)
    assert again is lost
    late = lost.identified(value.endpoint, Health(alive=False, silence="the agent did not answer in time"), 7.0)
    assert late.unproven == f"{SILENT}: the agent did not answer in time"
    wrong = late.identified(value.endpoint, Health(alive=False, doubt="unsigned answer"), 8.0)
    assert wrong.unproven == "unproven: unsigned answer"
    assert wrong.identified(value.endpoint, Health(alive=False, silence="gone"), 9.0).unproven == f"{SILENT}: gone"
    doubted = value.identified(value.endpoint, Health(alive=False, doubt="unsigned answer"), 5.0)
    assert doubted.unproven == "unproven: unsigned answer"
    assert doubted.identity.doubt is not None
    assert doubted.identity.doubt.since == 5.0
    proved = doubted.identified(value.endpoint, Health(alive=True), 6.0)
    assert proved.unproven is None
    assert proved.identity.proof == Proof(url="http://a", public_key="key", at=6.0)
    assert proved.identified(value.endpoint, Health(alive=False, silence="gone"), 7.0) is proved
    later = proved.identified(value.endpoint, Health(alive=False, doubt="unsigned answer"), 7.0)
    assert later.unproven == "unproven: unsigned answer"
    replaced = replace(proved, public_key="another")
    moved = replace(proved, profile=replace(proved.profile, url="http://elsewhere"))
    for changed in (replaced, moved):
        assert changed.unproven == "unproven: its address has not yet answered with a signature of its device"
        assert changed.identified(value.endpoint, Health(alive=True), 8.0) is changed, "it is another address or key"
        assert needs_probe(changed, now=CLIENT.created_at, interval=30.0)
    assert not needs_probe(proved, now=CLIENT.created_at, interval=30.0)
    doubted_there = moved.identified(moved.endpoint, Health(alive=False, doubt="unsigned answer"), 9.0)
    back = replace(doubted_there, profile=proved.profile)
    assert back.unproven is None, "a doubt about another address says nothing against the one that was proved"
