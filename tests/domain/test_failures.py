"""What goes wrong with a client: it cannot be reached, or what it says is wrong. Each has its own consequence."""

import random
from dataclasses import replace

from app.domain.breaker import DEFAULT_POLICY, Breaker
from app.domain.clients import Client, Profile
from app.domain.failures import Failure, FailureKind, FailurePhase, Failures

NOW = 1000.0
CHANCE = random.Random(1)  # noqa: S311  (chance, not secrets)
PROFILE = Profile(url="http://a", data_size=1, compute_capacity=1.0, bandwidth=1.0, latency=1.0)


def failed(times: int, phase: FailurePhase, kind: FailureKind, *, at: float = NOW) -> Client:
    client = Client(id="a", profile=PROFILE, created_at=0.0, updated_at=0.0)
    for number in range(times):
        failure = Failure(phase=phase, round=number, reason=f"reason\n{number}", kind=kind)
        client = client.failed(failure, at, CHANCE)
        if (phase, kind) == ("evaluate", "faulty"):
            client = replace(client, failures=client.failures.evaluated_wrongly())
    return client


def test_both_kinds_are_counted_with_the_last_failure_of_each() -> None:
    client = failed(2, "fit", "unreachable").failed(Failure(phase="fit", reason="NaN"), NOW + 1, CHANCE)
    assert client.failures == Failures(
        unreachable=2,
        faulty=1,
        last_unreachable=Failure(phase="fit", round=1, reason="reason 1", at=NOW, kind="unreachable"),
        last_faulty=Failure(phase="fit", reason="NaN", at=NOW + 1),
    )


def test_a_client_that_cannot_be_reached_is_shut_out_whatever_it_was_to_do() -> None:
    for phase in ("fit", "evaluate"):
        client = failed(DEFAULT_POLICY.failures_in_row, phase, "unreachable")
        assert client.breaker.state == "open"
        assert client.may_evaluate(NOW), "its breaker keeps it away, and nothing else"
    assert failed(DEFAULT_POLICY.failures_in_row, "fit", "faulty").breaker.state == "open"


def test_a_client_whose_evaluations_are_wrong_goes_on_training() -> None:
    client = failed(10, "evaluate", "faulty")
    assert (client.breaker.state, client.breaker.consecutive_failures) == ("closed", 0)
    assert client.failures.faulty == 10


def test_a_client_is_asked_to_evaluate_ever_more_rarely_after_three_wrong_evaluations() -> None:
    assert failed(2, "evaluate", "faulty").may_evaluate(NOW)
    for times, seconds in ((3, 30.0), (4, 60.0), (5, 120.0), (8, 600.0), (1000, 600.0)):
        client = failed(times, "evaluate", "faulty")
        assert not client.may_evaluate(NOW + seconds - 1)
        assert client.may_evaluate(NOW + seconds)
    assert failed(1, "fit", "faulty").failures.evaluates_again_at() is None


def test_a_right_evaluation_or_a_new_profile_ends_the_row() -> None:
    client = failed(3, "evaluate", "faulty")
    assert not client.may_evaluate(NOW)
    assert replace(client, failures=client.failures.evaluated()).may_evaluate(NOW)
    assert replace(client, failures=client.failures.evaluated()).failures.faulty == 3
    assert replace(client, updated_at=NOW + 1).may_evaluate(NOW + 1)


def test_a_breaker_lists_the_failures_that_shut_a_client_out() -> None:
    client = failed(1, "fit", "faulty")
    assert client.breaker.last_failures == (Failure(phase="fit", round=0, reason="reason 0", at=NOW),)
    assert failed(1, "evaluate", "faulty").breaker.last_failures == ()


def test_a_client_that_is_let_in_by_hand_is_asked_for_everything_again() -> None:
    client = failed(3, "evaluate", "faulty").failed(Failure(phase="fit", reason="NaN"), NOW, CHANCE)
    again = client.reset()
    assert again.may_evaluate(NOW)
    assert again == replace(client, breaker=Breaker(), failures=replace(client.failures, wrong_evaluations=0))
