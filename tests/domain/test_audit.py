"""What the audit trail records, and how a flood of calls is counted."""

from dataclasses import replace

from app.domain.audit import SEVERAL, AuditRecord, Call, Tally, hashed_fields
from tcsfeel.audit import GENESIS, canonical

REFUSED = Call(actor="nobody", address="10.0.0.9", operation="GET /v1/clients", status=401)


def test_the_first_of_identical_calls_is_recorded_at_once_and_the_others_are_counted_for_a_minute() -> None:
    tally = Tally()
    first = replace(REFUSED, request_id="r-1")
    assert tally.note(first, 100.0) == first
    assert [tally.note(replace(REFUSED, request_id=f"r-{number}"), 130.0) for number in range(4)] == [None] * 4
    assert tally.due(159.9) == []
    assert tally.due(160.0) == [replace(REFUSED, count=4)]
    assert tally.due(999.0) == []
    assert tally.note(first, 160.0) == first


def test_a_call_that_was_not_repeated_has_no_second_record() -> None:
    tally = Tally()
    tally.note(REFUSED, 0.0)
    assert tally.due(60.0) == []
    assert len(tally) == 0


def test_nothing_is_taken_out_before_its_minute_is_over() -> None:
    tally = Tally()
    tally.note(REFUSED, 0.0)
    tally.note(REFUSED, 0.0)
    assert [tally.due(seconds) for seconds in (0.0, 0.5, 59.0)] == [[], [], []]
    assert tally.due(60.0) == [replace(REFUSED, count=1)]


def test_each_kind_that_is_taken_out_makes_place_for_one_other_of_its_actor() -> None:
    tally = Tally(kinds_of_actor=3, merged_of_actor=0)
    kinds = [replace(REFUSED, operation=f"GET /v1/{number}") for number in range(5)]
    for call, at in zip(kinds[:3], (0.0, 30.0, 30.0), strict=True):
        assert tally.note(call, at) == call
    assert tally.due(60.0) == []
    assert tally.note(kinds[3], 60.0) == kinds[3]
    assert tally.note(kinds[4], 60.0) == replace(kinds[4], operation=SEVERAL)


def test_where_there_is_no_place_for_the_first_record_it_is_counted_as_well() -> None:
    tally = Tally()
    assert [tally.note(REFUSED, 0.0, later=True) for _ in range(3)] == [None] * 3
    assert tally.due(60.0) == [replace(REFUSED, count=3)]


def test_at_the_end_everything_counted_is_taken_out() -> None:
    tally = Tally()
    tally.note(REFUSED, 0.0)
    tally.note(REFUSED, 1.0)
    assert tally.due(1.0, everything=True) == [replace(REFUSED, count=1)]


def test_a_clock_that_was_set_back_keeps_nothing_for_ever() -> None:
    tally = Tally()
    tally.note(REFUSED, 1000.0)
    tally.note(REFUSED, 1000.0)
    assert tally.due(10.0) == [replace(REFUSED, count=1)]


def test_calls_that_differ_are_counted_apart() -> None:
    tally = Tally()
    others = [
        replace(REFUSED, address="10.0.0.8"),
        replace(REFUSED, status=403),
        replace(REFUSED, operation="GET /v1/trainings"),
        replace(REFUSED, parameters=(("client_id", "a"),)),
    ]
    assert [tally.note(call, 0.0) for call in (REFUSED, *others)] == [REFUSED, *others]


def test_an_actor_with_too_many_kinds_of_calls_shares_one_record_and_takes_no_others_places() -> None:
    tally = Tally(kinds_of_actor=2, merged_of_actor=0)
    kinds = [replace(REFUSED, address=f"10.0.0.{number}") for number in range(5)]
    shared = Call(actor="nobody", address=SEVERAL, operation=SEVERAL, status=401)
    third = replace(shared, address=kinds[2].address)
    assert [tally.note(call, 0.0) for call in kinds] == [kinds[0], kinds[1], third, None, None]
    known = replace(REFUSED, actor="anna", status=403)
    assert tally.note(known, 0.0) == known
    assert tally.due(60.0) == [replace(shared, count=2)]


def test_a_caller_that_sends_many_kinds_of_calls_does_not_hide_the_addresses_of_others() -> None:
    tally = Tally(kinds_of_actor=2, merged_of_actor=2)
    flood = [replace(REFUSED, operation=f"GET /v1/{number}") for number in range(5)]
    for call in flood:
        tally.note(call, 0.0)
    other = replace(REFUSED, address="10.0.0.7", operation="GET /v1/keys")
    assert tally.note(other, 0.0) == replace(other, operation=SEVERAL)
    last = [replace(REFUSED, address=f"10.1.0.{number}") for number in range(3)]
    shared = replace(REFUSED, address=SEVERAL, operation=SEVERAL)
    assert [tally.note(call, 0.0) for call in last] == [replace(shared, address=last[0].address), None, None]
    assert len(tally) == 5
    assert tally.due(60.0) == [replace(REFUSED, operation=SEVERAL, count=2), replace(shared, count=2)]


def test_too_many_actors_share_one_record() -> None:
    tally = Tally(kinds=3)
    calls = [replace(REFUSED, actor=f"agent {number}", role="agent", key_id=f"k{number}") for number in range(6)]
    shared = Call(actor=SEVERAL, address=SEVERAL, operation=SEVERAL, status=401)
    assert [tally.note(call, 0.0) for call in calls] == [*calls[:3], shared, None, None]
    assert tally.due(60.0) == [replace(shared, count=2)]
    assert [tally.note(call, 61.0) for call in calls[3:]] == calls[3:]


def test_merged_calls_keep_the_key_and_the_address_that_all_have() -> None:
    tally = Tally(kinds_of_actor=1)
    anna = replace(REFUSED, actor="anna", role="viewer", key_id="k1")
    for number in range(4):
        tally.note(replace(anna, parameters=(("client_id", str(number)),)), 0.0)
    for number in range(3):
        tally.note(replace(anna, key_id="k2", parameters=(("client_id", str(number)),)), 0.0)
    merged = replace(anna, operation=SEVERAL)
    assert tally.due(60.0) == [replace(merged, count=2), replace(merged, key_id="k2", count=1)]


def test_calls_that_were_merged_for_one_actor_stay_its_own_when_there_are_too_many_kinds() -> None:
    tally = Tally(kinds_of_actor=1, kinds=2)
    for number in range(4):
        tally.note(replace(REFUSED, parameters=(("client_id", str(number)),)), 0.0)
    assert tally.due(60.0) == [replace(REFUSED, operation=SEVERAL, count=2)]


def test_a_tally_that_does_not_merge_returns_each_call_of_too_many_kinds() -> None:
    tally = Tally(kinds=2, merges=False)
    calls = [replace(REFUSED, address=f"10.0.0.{number}", request_id=f"r-{number}") for number in range(4)]
    assert [tally.note(call, 0.0) for call in calls] == calls
    assert [tally.note(call, 0.0) for call in calls] == [None, None, *calls[2:]]
    assert len(tally) == 2
    assert tally.due(60.0) == [replace(call, request_id=None, count=1) for call in calls[:2]]


def test_a_record_is_hashed_as_it_is_shown() -> None:
    record = AuditRecord(
        sequence=7,
        at=1_764_500_000.25,
        actor="anna",
        role="operator",
        key_id="k1",
        address="10.0.0.9",
        operation="DELETE /v1/clients/{client_id}",
        parameters=(("client_id", "edge-7"),),
        status=204,
        request_id="r-1",
        previous=GENESIS,
    )
    assert canonical(hashed_fields(record)).decode() == (
        '{"actor":"anna","address":"10.0.0.9","at":"2025-11-30T10:53:20.250000Z","count":1,"key_id":"k1",'
        '"operation":"DELETE /v1/clients/{client_id}","parameters":{"client_id":"edge-7"},'
        f'"previous":"{GENESIS}","request_id":"r-1","role":"operator","sequence":7,"status":204}}'
    )
