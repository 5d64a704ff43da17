"""Events of clients and of their breakers."""

from dataclasses import replace
from typing import get_args

import pytest

from app.domain.breaker import BreakerState
from app.domain.clients import Client, ClientStatus, Profile
from app.domain.events.clients import (
    BREAKERS,
    HEALTH,
    ClientDoubted,
    ClientProved,
    ClientUnproven,
    ClientUpdated,
    IdentityEvent,
    identity_events,
    update_of,
)
from app.domain.identity import Doubt, Identity, Proof

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


PROOF = Proof(url="http://a", public_key="key", at=1.0)
DOUBT = Doubt(url="http://a", public_key="key", since=1.0, reason="it has no signature")
SILENCE = replace(DOUBT, reason="it does not answer", answered=False)


def of(proof: Proof | None, doubt: Doubt | None) -> Client:
    return replace(CLIENT, public_key="key", identity=Identity(proof=proof, doubt=doubt))


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (of(None, None), of(None, None), []),
        (of(None, DOUBT), of(PROOF, None), [ClientProved(client_id="a", url="http://a")]),
        (of(PROOF, None), of(PROOF, None), []),
        (
            of(PROOF, None),
            of(None, DOUBT),
            [ClientDoubted(client_id="a", url="http://a", reason="it has no signature")],
        ),
        (of(None, DOUBT), of(None, DOUBT), []),
        (
            of(None, DOUBT),
            of(None, SILENCE),
            [ClientUnproven(client_id="a", url="http://a", reason="it does not answer")],
        ),
        (
            of(PROOF, None),
            of(PROOF, replace(DOUBT, url="http://b")),
            [ClientDoubted(client_id="a", url="http://b", reason="it has no signature")],
        ),
    ],
)
def test_what_an_address_newly_proved_or_did_not_prove_has_an_event(
    before: Client, after: Client, events: list[IdentityEvent]
) -> None:
    assert identity_events(before, after) == events
