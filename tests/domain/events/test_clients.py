"""Events of clients and of their breakers."""

from dataclasses import replace
from typing import get_args

from app.domain.breaker import BreakerState
from app.domain.clients import Client, ClientStatus, Profile
from app.domain.events.clients import BREAKERS, HEALTH, ClientUpdated, update_of

PROFILE = Profile(url="http://a", data_size=10, compute_capacity=2.0, bandwidth=8.0, latency=5.0)
CLIENT = Client(id="a", profile=PROFILE, created_at=0.0, updated_at=0.0)


def test_the_event_of_a_changed_profile_names_the_fields_that_differ() -> None:
    after = replace(CLIENT, updated_at=9.0, profile=replace(PROFILE, latency=6.0, bandwidth=7.0))
    assert update_of(CLIENT, after) == ClientUpdated(client_id="a", fields=("bandwidth", "latency"))
    assert update_of(CLIENT, CLIENT).fields == ()


def test_the_event_of_a_client_that_moved_has_both_addresses() -> None:
    after = replace(CLIENT, profile=replace(PROFILE, url="http://b"))
    assert update_of(CLIENT, after) == ClientUpdated(client_id="a", fields=("url",), url="http://b", was="http://a")


def test_each_status_and_each_state_of_a_breaker_has_its_event() -> None:
    assert {status: kind.type for status, kind in HEALTH.items()} == {
        status: f"client.{status}" for status in get_args(ClientStatus)
    }
    assert {state: kind.type for state, kind in BREAKERS.items()} == {
        state: f"breaker.{state}" for state in get_args(BreakerState)
    }
