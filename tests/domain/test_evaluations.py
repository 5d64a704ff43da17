"""Who may be asked to measure a model, and who is."""

from dataclasses import replace

from app.domain.breaker import Breaker
from app.domain.clients import Client, Profile
from app.domain.evaluations import able_to_evaluate, drawn

NOW = 1000.0


def client(name: str, **tags: str) -> Client:
    profile = Profile(url="http://a", data_size=1, compute_capacity=1.0, bandwidth=1.0, latency=1.0, tags=tags)
    return Client(id=name, profile=profile, created_at=NOW, updated_at=NOW)


def able(*clients: Client, **tags: str) -> list[str]:
    return [client.id for client in able_to_evaluate(clients, tags)]


def test_a_client_whose_breaker_is_not_closed_is_not_asked() -> None:
    clients = [
        client("a"),
        replace(client("b"), breaker=Breaker(state="open", retry_at=NOW)),
        replace(client("c"), breaker=Breaker(state="half_open")),
    ]
    assert able(*clients) == ["a"]


def test_evaluators_have_all_the_tags() -> None:
    clients = [
        client("a", site="north", trusted="yes"),
        client("b", site="north"),
        client("c", site="south", trusted="yes"),
        client("d"),
    ]
    assert able(*clients) == ["a", "b", "c", "d"]
    assert able(*clients, site="north") == ["a", "b"]
    assert able(*clients, site="north", trusted="yes") == ["a"]
    assert able(*clients, site="") == []


def test_a_client_that_has_said_that_it_has_no_data_is_asked_again_when_its_profile_is_new() -> None:
    empty = client("a").without_held_out_data(NOW + 5)
    assert able(empty) == []
    assert able(replace(empty, updated_at=NOW + 5)) == []
    assert able(replace(empty, updated_at=NOW + 6)) == ["a"]


def test_as_many_evaluators_as_wanted_are_drawn_in_their_order_with_the_seed() -> None:
    clients = [client(name) for name in "abcdefgh"]
    seen = set()
    for seed in range(20):
        names = [one.id for one in drawn(clients, 3, seed)]
        assert names == sorted(set(names))
        assert len(names) == 3
        assert names == [one.id for one in drawn(clients, 3, seed)]
        seen.update(names)
    assert seen == set("abcdefgh"), "each has its chance"
    assert [one.id for one in drawn(clients, 3, 1)] == ["c", "d", "h"], "an owner of another version draws the same"


def test_where_there_are_no_more_evaluators_than_wanted_all_are_taken() -> None:
    clients = [client(name) for name in "cab"]
    assert drawn(clients, 3, 1) == drawn(clients, 4, 1) == clients
    assert drawn([], 3, 1) == []
