"""Clients as rows, on both databases."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from app.domain.breaker import Breaker
from app.domain.clients import Client, Measured, Profile
from app.domain.errors import AlreadyExists, NotFound
from app.domain.failures import Failure, Failures
from app.domain.identity import Conflict, Doubt, Identity, Proof, Sighting
from app.store.clients import CHUNK
from app.store.database import Database
from tests.lag import turns
from tests.store.samples import NOW, client, unsaid
from tests.store.statements import statements

FULL = Client(
    id="edge-7",
    profile=Profile(
        url="http://10.0.0.7:9000/agent",
        data_size=10**12,
        compute_capacity=5.5,
        bandwidth=40.125,
        latency=0.0,
        data_distribution={"0": 3.0, "naïve": 0.5},
        reliability=0.95,
        server_cost=0.0,
        tags={"site": "北", "rack": ""},
        auth_token="secret",
        relay=False,
        elastic=True,
    ),
    status="suspect",
    measured=Measured(reliability=0.0, train_seconds=1.5, bandwidth=2.0, latency=0.0, last_update_quality=1.0,
        no_held_out_data_at=NOW, relaying=0.75),
    breaker=Breaker(
        state="half_open", consecutive_failures=3, outcomes=("ok", "slow", "failed"), openings=2, opened_at=NOW,
        retry_at=NOW + 0.1, probe_at=NOW + 0.15, probe_until=NOW + 0.2, last_failure_at=NOW - 1e-3,
        last_failures=(Failure(phase="evaluate", training_id="t", round=3, reason="answered 500", at=NOW - 1e-3),),
        cause="3 failures in a row",
    ),
    failures=Failures(
        unreachable=1, faulty=2, last_unreachable=Failure(phase="fit", reason="gone", kind="unreachable", at=NOW),
        last_faulty=Failure(phase="evaluate", training_id="t", round=3, reason="NaN", at=NOW - 1e-3),
        wrong_evaluations=1,
    ),
    identity=Identity(
        sightings=(Sighting(instance="7c0d", url="http://edge-7", at=NOW),),
        conflict=Conflict(since=NOW - 5, last_at=NOW, urls=("http://edge-7", "http://other"), instances=("7c0d",)),
        proof=Proof(url="http://edge-7", public_key="K" * 43, at=NOW - 2),
        doubt=Doubt(url="http://other", public_key="K" * 43, since=NOW - 1, reason="unsigned answer"),
        shut_out=True,
    ),
    rounds_selected=4,
    rounds_completed=3,
    last_seen_at=NOW + 1 / 3,
    created_at=NOW,
    updated_at=NOW + 1e-6,
    public_key="K" * 43,
    invitation_id="0123456789abcdef",
    enrolled_at=NOW - 1,
)  # fmt: skip


async def add(db: Database, *clients: Client) -> None:
    async with db.begin() as tx:
        await tx.clients.add(clients)


async def ids(db: Database, **query: Any) -> list[str]:
    given: dict[str, Any] = {"limit": 100, "after": None, "status": None, "tags": []}
    async with db.read() as tx:
        return [found.id for found in (await tx.clients.page(**(given | query))).items]


def test_the_sample_has_something_in_every_field() -> None:
    assert unsaid(FULL, FULL.profile, FULL.measured, FULL.breaker, FULL.failures, FULL.identity) == set()


@pytest.mark.parametrize("stored", [FULL, client("bare")], ids=["every-field", "no-optional-field"])
async def test_a_client_comes_back_as_it_was_added(db: Database, stored: Client) -> None:
    await add(db, stored)
    async with db.read() as tx:
        assert await tx.clients.get(stored.id) == stored
        assert await tx.clients.all() == [stored]


async def test_a_list_of_label_counts_comes_back_as_numbers(db: Database) -> None:
    counted = replace(client().profile, data_distribution=[300.0, 0.0, 880.0])
    await add(db, client(profile=counted))
    async with db.read() as tx:
        assert (await tx.clients.get("a")).profile == counted


async def test_put_writes_every_field_but_the_profile(db: Database) -> None:
    claimed = replace(client("edge-7").profile, data_distribution=[1.0, 2.0])
    await add(db, client("edge-7", profile=claimed), client("other"))
    async with db.begin() as tx:
        await tx.clients.put(FULL)
    kept = replace(FULL, profile=claimed, public_key=None, invitation_id=None, enrolled_at=None)
    async with db.read() as tx:
        assert await tx.clients.get("edge-7") == kept
        assert await tx.clients.get("other") == client("other")


async def test_a_changed_profile_is_written_with_what_else_has_changed(db: Database) -> None:
    before = client("edge-7")
    await add(db, before, client("other"))
    async with db.begin() as tx:
        await tx.clients.put_profile(before, FULL)
    async with db.read() as tx:
        assert await tx.clients.get("edge-7") == FULL
        assert await tx.clients.get("other") == client("other")


async def test_what_has_not_changed_of_a_profile_is_not_written(db: Database) -> None:
    await add(db, FULL)
    moved = replace(FULL, profile=replace(FULL.profile, url="http://10.0.0.8:9000"))
    with statements() as written:
        async with db.begin() as tx:
            await tx.clients.put_profile(FULL, moved)
            await tx.clients.put(FULL)
            await tx.clients.put_profile(FULL, FULL)
    profile, others = [text for text in written if text.startswith("UPDATE clients")]
    assert re.findall(r"(\w+)=", profile) == ["url", "change"]
    assert "status=" in others
    assert not {"data_distribution", "tags", "auth_token", "url"} & {*re.findall(r"(\w+)=", others)}


async def test_labels_are_not_read_where_rounds_need_none_of_them(db: Database) -> None:
    labelled = replace(client("b").profile, data_distribution=[3.0] * 1000)
    await add(db, client("a"), client("b", profile=labelled))
    async with db.begin() as tx:
        for found in (
            await tx.clients.some(["a", "b"]),
            await tx.clients.lock(["a", "b"]),
            await tx.clients.all(labels=False),
            (await tx.clients.page(limit=2, after=None, status=None, tags=(), labels=False)).items,
            [await tx.clients.get("a", labels=False), await tx.clients.get("b", labels=False)],
        ):
            assert [one.profile.data_distribution is None for one in found] == [True, False]
            assert not found[1].profile.data_distribution
            await tx.clients.put(*found)  # which must not lose them
    async with db.read() as tx:
        assert await tx.clients.get("b") == client("b", profile=labelled)


async def test_taken_ids_are_all_named_and_nothing_is_added(db: Database) -> None:
    await add(db, client("a"), client("b"))
    with pytest.raises(AlreadyExists) as caught:
        await add(db, client("b"), client("c"), client("a"))
    assert (caught.value.kind, caught.value.names) == ("client", ("a", "b"))
    assert await ids(db) == ["a", "b"]


async def test_adding_what_is_missing_leaves_the_others_alone(db: Database) -> None:
    await add(db, FULL)
    async with db.begin() as tx:
        assert await tx.clients.add_missing([client("edge-7"), client("new")]) == {"new"}
    async with db.read() as tx:
        assert await tx.clients.get("edge-7") == FULL


async def test_adding_nobody_adds_nobody(db: Database) -> None:
    await add(db)
    assert await ids(db) == []


async def test_batches_of_thousands_are_one_transaction(db: Database) -> None:
    names = [f"c{number:05}" for number in range(2_500)]
    await add(db, *map(client, reversed(names)))
    async with db.read() as tx:
        assert await tx.clients.ids() == names


async def test_the_same_clients_registered_twice_at_once_in_opposite_orders_have_one_winner(db: Database) -> None:
    clients = [client(f"c{number:03}") for number in range(300)]
    results = await asyncio.gather(add(db, *clients), add(db, *reversed(clients)), return_exceptions=True)
    assert {type(result) for result in results} == {type(None), AlreadyExists}  # and nobody met a deadlock


async def test_what_is_not_there_is_not_found(db: Database) -> None:
    async with db.begin() as tx:
        with pytest.raises(NotFound):
            await tx.clients.get("a")
        with pytest.raises(NotFound):
            await tx.clients.get("a", for_update=True)
        with pytest.raises(NotFound):
            await tx.clients.remove("a")


async def test_a_removed_client_is_gone(db: Database) -> None:
    await add(db, client("a"), client("b"))
    async with db.begin() as tx:
        await tx.clients.remove("a")
    assert await ids(db) == ["b"]


async def test_pages_follow_each_other_without_gap_or_overlap(db: Database) -> None:
    names = ["-", ".x", "0", "A", "_", "a", "b"]  # the order of their characters' codes
    await add(db, *map(client, reversed(names)))
    assert await ids(db, limit=3) == names[:3]
    assert await ids(db, limit=3, after="0") == names[3:6]
    assert await ids(db, limit=3, after="a") == names[6:]
    assert await ids(db, after="b") == []


async def test_a_page_holds_one_status(db: Database) -> None:
    await add(db, client("a"), client("b", status="down"), client("c", status="suspect"), client("d", status="down"))
    assert await ids(db, status="down") == ["b", "d"]
    assert await ids(db, status="down", after="b") == ["d"]
    async with db.read() as tx:
        assert await tx.clients.count_by_status() == {"healthy": 1, "down": 2, "suspect": 1}


@pytest.mark.parametrize(
    "key", ["site", "a.b", "7", "$", "[0]", "naïve", 'quo"ted', "back\\slash", "it's", "#", "{x}", "%s", "a b", "🙂"]
)
async def test_a_page_holds_the_clients_with_all_the_tags_whatever_their_characters(db: Database, key: str) -> None:
    def tagged(name: str, **tags: str) -> Client:
        return client(name, profile=replace(client().profile, tags={key: "x'\"\\ü"} | tags))

    await add(db, tagged("a", kind="1"), tagged("b", kind="2"), client("c"))
    assert await ids(db, tags=[(key, "x'\"\\ü")]) == ["a", "b"]
    assert await ids(db, tags=[(key, "x'\"\\ü"), ("kind", "2")]) == ["b"]
    assert await ids(db, tags=[(key, "other")]) == []
    assert await ids(db, tags=[("kind", "1"), ("kind", "2")]) == []


async def test_some_gives_those_that_are_registered_however_many_are_asked_for(db: Database) -> None:
    names = [f"c{number:04}" for number in range(CHUNK + 2)]
    await add(db, *map(client, names))
    async with db.read() as tx:
        assert [found.id for found in await tx.clients.some([*reversed(names), "unknown"])] == names
        assert await tx.clients.some([]) == []


async def test_breakers_that_are_not_closed_are_counted(db: Database) -> None:
    await add(
        db, client("a"), client("b", breaker=Breaker(state="open")), client("c", breaker=Breaker(state="half_open"))
    )
    async with db.read() as tx:
        assert await tx.clients.count_open_breakers() == 2


async def test_selections_are_counted(db: Database) -> None:
    await add(db, client("a", rounds_selected=4), client("b"), client("c"))
    async with db.begin() as tx:
        await tx.clients.count_selected(["a", "b", "unknown"])
    async with db.read() as tx:
        assert [found.rounds_selected for found in await tx.clients.all()] == [5, 1, 0]


async def test_a_row_held_for_update_keeps_a_second_change_from_being_lost(db: Database) -> None:
    await add(db, client("a"))

    async def count() -> None:
        async with db.begin() as tx:
            found = await tx.clients.get("a", for_update=True)
            await asyncio.sleep(0)
            await tx.clients.put(replace(found, rounds_completed=found.rounds_completed + 1))

    await asyncio.gather(*(count() for _ in range(8)))
    async with db.read() as tx:
        assert (await tx.clients.get("a")).rounds_completed == 8


async def test_a_round_may_be_of_more_clients_than_a_statement_has_room_for(db: Database) -> None:
    await add(db, client("first"), client("last"))
    selected = ["first", *(f"gone-{number}" for number in range(40_000)), "last"]
    async with db.begin() as tx:
        assert [found.id for found in await tx.clients.lock(selected)] == ["first", "last"]
        await tx.clients.count_selected(selected)
    async with db.read() as tx:
        assert [found.rounds_selected for found in await tx.clients.all()] == [1, 1]


async def test_others_have_their_turn_while_many_clients_are_read(db: Database) -> None:
    labels = [number + 0.123456789 for number in range(10_000)]
    wide = [client(f"z-{number}", profile=replace(client().profile, data_distribution=labels)) for number in range(12)]
    await add(db, *map(client, "abcdefgh"), *wide)
    async with db.read() as tx, turns() as counted:
        found = await tx.clients.all()
    assert len(found) == 20
    assert counted.number >= 12  # one after each of those with 200 kB
