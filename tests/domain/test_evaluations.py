"""Who may be asked to measure a model, and who is."""

from dataclasses import replace

from app.domain.breaker import Breaker
from app.domain.clients import Client, Profile
from app.domain.evaluations import able_to_evaluate, drawn, not_measured
from app.domain.failures import Failure, Failures
from app.domain.rounds import Participation

NOW = 1000.0


def client(name: str, **tags: str) -> Client:
    profile = Profile(url="http://a", data_size=1, compute_capacity=1.0, bandwidth=1.0, latency=1.0, tags=tags)
    return Client(id=name, profile=profile, created_at=NOW, updated_at=NOW)


def able(*clients: Client, **tags: str) -> list[str]:
    found, _ = able_to_evaluate(clients, tags, NOW + 10)
    return [client.id for client in found]


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


def test_a_client_that_is_not_asked_has_a_reason() -> None:
    wrong = Failures(wrong_evaluations=3, last_faulty=Failure(phase="evaluate", reason="loss is NaN", at=NOW + 9))
    clients = [
        replace(client("a", site="north"), breaker=Breaker(state="open", cause="3 failures in a row", opened_at=0.0)),
        client("b"),
        client("c", site="north").without_held_out_data(NOW + 5),
        replace(client("d", site="north"), failures=wrong),
        client("e", site="north"),
    ]
    found, out = able_to_evaluate(clients, {"site": "north"}, NOW + 10)
    assert [one.id for one in found] == ["e"]
    assert out == [
        ("a", "its breaker is open: isolated by hand since 1970-01-01 00:00:00 UTC"),
        ("b", "its tag site is not north"),
        ("c", "it has no held-out examples"),
        ("d", "its last 3 evaluations were wrong (the last: evaluate: loss is NaN)"),
    ]


def test_a_round_that_nobody_measured_says_why() -> None:
    parts = [
        Participation(kind="evaluate", client_id="a", status="failed", reason="no connection to the agent"),
        Participation(kind="evaluate", client_id="b", status="skipped"),
    ]
    assert not_measured(parts, []) == (
        "none of 2 clients measured the model; a: no connection to the agent; b: it has not answered"
    )
    assert not_measured([replace(parts[0], status="received"), parts[1]], []) is None
    assert not_measured([], [("c", "it is down")]) == "no client could be asked to measure the model; c: it is down"
    assert not_measured([], []) == "no client could be asked to measure the model"
