"""Agents that share an id: when that is a conflict, and when it is a restart or a move."""

import pytest

from app.domain.identity import DOUBTED, SHUT_OUT, SILENT, UNPROVEN, Conflict, Doubt, Identity, Proof, without_quotation

NOW, INTERVAL = 1000.0, 30.0
A, B, C = ("http://a", "1"), ("http://b", "2"), ("http://c", "3")


def after(*signs: tuple[float, tuple[str | None, str | None]]) -> Identity:
    """An identity after signs of life: when, and of which URL and instance."""
    identity = Identity()
    for at, (url, instance) in signs:
        identity = identity.seen(NOW + at, instance=instance, url=url, interval=INTERVAL)
    return identity


def beat(agent: tuple[str, str]) -> tuple[None, str]:
    """A heartbeat names no URL."""
    return None, agent[1]


def test_a_new_process_takes_the_place_of_the_old_one() -> None:
    identity = after((0, A), (10, beat(A)), (20, B), (30, beat(B)), (40, C))
    assert identity.conflict is None
    assert [sighting.who for sighting in identity.sightings] == ["3", "2", "1"]


def test_two_devices_that_send_heartbeats_in_turn_are_in_conflict() -> None:
    identity = after((0, A), (5, B), (10, beat(A)))
    assert identity.conflict == Conflict(
        since=NOW + 10, last_at=NOW + 10, urls=("http://a", "http://b"), instances=("1", "2")
    )
    later = identity.seen(NOW + 15, instance="2", url=None, interval=INTERVAL).conflict
    assert later == Conflict(since=NOW + 10, last_at=NOW + 15, urls=("http://b", "http://a"), instances=("2", "1"))


def test_devices_at_one_address_are_told_apart_by_their_instances() -> None:
    identity = after((0, ("http://nat", "1")), (5, ("http://nat", "2")), (10, (None, "1")))
    assert identity.conflict is not None
    assert identity.conflict.urls == ("http://nat", "http://nat")


def test_three_devices_are_in_conflict_too() -> None:
    assert after((0, A), (1, B), (2, C), (3, beat(A))).conflict is not None


def test_agents_that_name_no_instance_are_in_conflict_where_they_register_in_turn() -> None:
    a, b = ("http://a", None), ("http://b", None)
    assert after((0, a), (10, b)).conflict is None
    assert after((0, a), (10, b), (30, a)).conflict == Conflict(
        since=NOW + 30, last_at=NOW + 30, urls=("http://a", "http://b")
    )
    assert after((0, a), (10, b), (31, a)).conflict is None  # it has come back to where it was


def test_a_heartbeat_without_an_instance_says_nothing_of_who_sent_it() -> None:
    assert after((0, A), (5, B), (10, (None, None))) == after((0, A), (5, B))


def test_an_agent_that_comes_back_after_long_was_not_there_in_between() -> None:
    assert after((0, A), (5, B), (90, beat(A))).conflict is not None
    assert after((0, A), (5, B), (91, beat(A))).conflict is None


def test_a_conflict_is_over_when_only_one_agent_has_been_heard_of_for_a_while() -> None:
    assert after((0, A), (5, B), (10, beat(A)), (60, beat(A)), (100, beat(A))).conflict is not None
    assert after((0, A), (5, B), (10, beat(A)), (60, beat(A)), (101, beat(A))).conflict is None


def test_what_is_remembered_is_bounded() -> None:
    identity = after(*((number / 10, (f"http://{number}", str(number))) for number in range(50)))
    assert [sighting.who for sighting in identity.sightings] == ["49", "48", "47"]


def test_an_address_is_proved_for_one_key_and_stays_so() -> None:
    proved = Identity().answered("http://a", "key", None, NOW)
    assert proved.proof == Proof(url="http://a", public_key="key", at=NOW)
    assert proved.is_proved("http://a", "key")
    assert not proved.is_proved("http://b", "key")
    assert not proved.is_proved("http://a", "another")
    assert proved.answered("http://a", "key", None, NOW + 9) is proved
    assert proved.seen(NOW + 9, instance="1", url=None, interval=INTERVAL).proof == proved.proof


def test_a_doubt_begins_once_and_ends_with_a_valid_signature() -> None:
    doubted = Identity().answered("http://a", "key", "unsigned answer", NOW)
    assert doubted.doubt == Doubt(url="http://a", public_key="key", since=NOW, reason="unsigned answer")
    assert doubted.doubt_about("http://a", "key") == doubted.doubt
    assert doubted.doubt_about("http://b", "key") is doubted.doubt_about("http://a", "another") is None
    assert doubted.answered("http://a", "key", "its clock says another time", NOW + 9) is doubted
    moved = doubted.answered("http://b", "key", "unsigned answer", NOW + 9)
    assert moved.doubt == Doubt(url="http://b", public_key="key", since=NOW + 9, reason="unsigned answer")
    proved = doubted.answered("http://a", "key", None, NOW + 10)
    assert (proved.doubt, proved.is_proved("http://a", "key")) == (None, True)
    again = proved.answered("http://a", "key", "unsigned answer", NOW + 20)
    assert (again.proof, again.doubt is None) == (None, False), "another device may have its address by now"
    assert again.answered("http://b", "key", None, NOW + 25).is_proved("http://b", "key")
    anew = again.answered("http://a", "key", None, NOW + 30)
    assert (anew.is_proved("http://a", "key"), anew.doubt) == (True, None)


def test_a_doubt_about_another_address_ends_as_soon_as_the_proved_one_signs_again() -> None:
    proved = Identity().answered("http://a", "key", None, NOW)
    doubted = proved.answered("http://b", "key", "unsigned answer", NOW + 5)
    assert doubted.proof == proved.proof
    assert doubted.doubt == Doubt(url="http://b", public_key="key", since=NOW + 5, reason="unsigned answer")
    assert doubted.answered("http://a", "key", None, NOW + 9) == proved


@pytest.mark.parametrize(
    ("unproven", "shown"),
    [
        (SHUT_OUT, SHUT_OUT),
        (UNPROVEN, UNPROVEN),
        ("unproven: <b>an answer</b>", DOUBTED),
        (f"{SILENT}: [Errno 111] http://10.0.0.9", SILENT),
    ],
)
def test_a_reason_without_quotation_has_only_the_words_of_the_server(unproven: str, shown: str) -> None:
    assert without_quotation(unproven) == shown
