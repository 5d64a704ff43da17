"""Webhooks, and when deliveries are tried again."""

from dataclasses import replace

import pytest

from app.domain.webhooks import PAUSES, Delivery, Webhook

HOOK = Webhook(id="w", url="http://a", secret="s", cursor=7, created_at=1.0, created_by="ada", updated_at=1.0)
DELIVERY = Delivery(webhook_id="w", event_id=8, type="round.completed", body="{}")


def test_a_delivery_is_tried_again_after_ever_longer_pauses_until_it_is_dead() -> None:
    one, pauses = DELIVERY, []
    while one.state == "waiting":
        one = one.failed("the receiver answered 500", 500, 100.0, jitter=0.0)
        pauses.append(one.next_at - 100.0)
    assert pauses == [5, 30, 120, 600, 1800, 3600, 7200, 0]
    assert (one.attempts, one.status, one.problem) == (8, 500, "the receiver answered 500")


def test_pauses_are_longer_by_a_fifth_at_most() -> None:
    assert DELIVERY.failed("x", None, 0.0, jitter=1.0).next_at == pytest.approx(6.0)
    assert list(PAUSES) == sorted(PAUSES)


def test_a_dead_delivery_that_is_redelivered_has_all_its_tries_again_and_the_same_id() -> None:
    dead = replace(DELIVERY, state="dead", attempts=8, next_at=5.0)
    again = dead.redelivered(9.0)
    assert (again.state, again.attempts, again.next_at) == ("waiting", 0, 9.0)
    assert again.message_id == DELIVERY.message_id == "evt_w_8"


def test_a_webhook_fails_since_the_first_try_after_the_last_one_that_arrived() -> None:
    failing = HOOK.met("no", 5.0).met("still no", 6.0)
    assert (failing.failing_since, failing.problem, failing.delivered_at) == (5.0, "still no", None)
    mended = failing.met(None, 7.0)
    assert (mended.failing_since, mended.problem, mended.delivered_at) == (None, None, 7.0)


def test_a_webhook_that_is_enabled_again_begins_without_a_problem() -> None:
    disabled = replace(HOOK.met("no", 5.0), enabled=False)
    assert disabled.changed({"name": "x"}, 6.0).problem == "no"
    enabled = disabled.changed({"enabled": True}, 6.0)
    assert (enabled.enabled, enabled.problem, enabled.failing_since, enabled.updated_at) == (True, None, None, 6.0)


def test_a_secret_is_not_shown() -> None:
    assert "secret" not in repr(HOOK)
