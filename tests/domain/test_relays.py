"""Who may be in a relay tree, and what a mean brings."""

from dataclasses import replace
from typing import Any

from app.domain.clients import Client, Measured
from app.domain.relays import (
    FORGIVEN,
    able_to_relay,
    facts_of_members,
    forgiven,
    groups,
    relayable,
    senders,
    sound,
    with_members,
)
from app.domain.rounds import Participation
from tcsfeel.aggregation.config import AggregationConfig
from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.selection.types import Plan
from tests.services.fakes import profile
from tests.store.samples import NOW, a_round

CONFIG = AggregationConfig()


def client(client_id: str, **fields: Any) -> Client:
    return Client(id=client_id, profile=profile(**fields), created_at=NOW, updated_at=NOW)


def part(client_id: str, relay: str | None = None, **fields: Any) -> Participation:
    given: dict[str, Any] = {"status": "received", "num_examples": 10, "loss": 1.0}
    return Participation(client_id=client_id, relay=relay, **(given | fields))


def test_clients_relay_that_want_to_and_have_an_address() -> None:
    pulls = replace(client("p"), profile=replace(profile(), url=None))
    assert able_to_relay([client("a"), pulls, client("b", relay=False), client("c")]) == ("a", "c")
    failing, passable = (
        replace(client(name), measured=Measured(relaying=share)) for name, share in (("d", 0.39), ("e", 0.4))
    )
    assert able_to_relay([failing, passable]) == ("e",)


def test_a_bad_relay_is_forgiven_a_part_of_what_it_lacks_with_each_update_of_its_own() -> None:
    bad, fresh = replace(client("a"), measured=Measured(relaying=0.25, reliability=0.5)), client("b")
    assert forgiven(bad) == replace(bad, measured=Measured(relaying=0.25 + FORGIVEN * 0.75, reliability=0.5))
    assert forgiven(fresh) is fresh


def test_updates_travel_only_between_clients_that_relay() -> None:
    links = Connectivity.from_edges(["a", "b", "c"], [Edge("a", "b", 1.0), Edge("a", "c", 2.0)])
    clients = [client("a"), client("b", relay=False), client("c")]
    assert relayable(links, "star", clients) is links
    assert list(relayable(links, "relay", clients).edges()) == [Edge("a", "c", 2.0)]


def test_a_client_that_could_claim_too_much_is_in_no_mean() -> None:
    # the median is 100, and no client weighs more than ten times that
    sizes = {"a": 100, "b": 100, "c": 100, "liar": 10**9}
    clients = {name: client(name, data_size=size) for name, size in sizes.items()}
    below = Plan("relay", {"a": None, "b": "a", "liar": "a", "c": None})
    assert sound(below, clients, CONFIG).parents == {"a": None, "b": "a", "liar": None, "c": None}
    above = Plan("relay", {"liar": None, "a": "liar", "b": None, "c": "b"})
    assert sound(above, clients, CONFIG).parents == {"liar": None, "a": None, "b": None, "c": "b"}


def test_a_relay_has_a_bounded_number_of_children() -> None:
    names = [f"c{number}" for number in range(70)]
    plan = Plan("relay", {"r": None, **dict.fromkeys(names, "r")})
    kept = sound(plan, {name: client(name) for name in ["r", *names]}, CONFIG)
    assert sum(parent == "r" for parent in kept.parents.values()) == 64


def test_a_star_stays_as_it_is() -> None:
    plan = Plan("star", {"a": None})
    assert sound(plan, {}, CONFIG) is plan
    assert groups(a_round(plan=plan)) == {}
    assert groups(replace(a_round(), plan=None)) == {}


def test_the_children_of_each_relay_are_those_of_the_plan() -> None:
    plan = Plan("relay", {"r": None, "a": "r", "s": None, "b": "s", "c": "r"})
    assert groups(a_round(plan=plan)) == {"r": ("a", "c"), "s": ("b",)}


def test_the_files_of_a_round_are_those_of_relays_and_of_clients_on_their_own() -> None:
    parts = (part("r"), part("a", "r", num_examples=20), part("d"), part("c", status="failed"), part("b", "r"))
    round_ = a_round(participations=parts)
    assert [one.client_id for one in senders(round_)] == ["d", "r"]
    found = facts_of_members(round_)
    assert found is not None
    assert [[fact.num_examples for fact in group] for group in found] == [[10], [10, 20, 10]]
    assert facts_of_members(a_round(participations=(part("r"), part("d")))) is None


def test_the_members_of_a_rejected_mean_are_rejected_with_it() -> None:
    round_ = a_round(participations=(part("r"), part("a", "r"), part("d"), part("e", status="failed")))
    assert with_members(round_, {"r": "too far", "e": "late"}) == {
        "r": "too far",
        "a": "the mean of its relay 'r' was rejected: too far",
    }
    assert with_members(round_, {"d": "too far"}) == {"d": "too far"}
