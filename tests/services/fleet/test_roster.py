"""All clients, of which only those are read that have changed."""

from dataclasses import fields, replace

from sqlalchemy import update

from app.domain.breaker import Breaker
from app.domain.clients import Client
from app.services.fleet.roster import LatestRoster, Roster
from app.store import client_changes
from app.store.database import Database
from app.store.tables import clients
from tcsfeel.selection.columns import Columns
from tests.store.samples import NOW, client
from tests.store.statements import statements


async def add(db: Database, *clients: Client) -> None:
    async with db.begin() as tx:
        await tx.clients.add(clients)


async def get(db: Database, latest: LatestRoster) -> Roster:
    async with db.read() as tx:
        return await latest.get(tx)


async def stored(db: Database) -> list[Client]:
    async with db.read() as tx:
        return await tx.clients.all()


def rows(columns: Columns) -> list[str]:
    return [str(getattr(columns, field.name)) for field in fields(columns)]


def parts(roster: Roster) -> list[object]:
    assert rows(roster.columns) == rows(Columns.of(roster.candidates))
    arrays = [array.tolist() for array in (roster.at_hand, roster.closed, roster.joined)]
    return [roster.clients, roster.candidates, roster.places, arrays, roster.floor]


async def test_what_is_new_changed_or_gone_is_known_at_the_next_look(db: Database) -> None:
    latest = LatestRoster()
    assert (await get(db, latest)).clients == ()
    await add(db, client("b"), client("d"))
    assert [one.id for one in (await get(db, latest)).clients] == ["b", "d"]
    await add(db, client("c"), client("a"))
    async with db.begin() as tx:
        await tx.clients.put(client("d", status="down"))
        await tx.clients.put_profile(client("b"), replace(client("b"), profile=replace(client().profile, data_size=7)))
    roster = await get(db, latest)
    assert list(roster.clients) == await stored(db)
    async with db.begin() as tx:
        await tx.clients.put_profile(client("b"), replace(client("b"), profile=replace(client().profile, data_size=7)))
    roster = await get(db, latest)
    assert rows(roster.columns) == rows(Columns.of(roster.candidates))
    assert roster.columns.data_size.tolist() == [client().profile.data_size, 7.0] + 2 * [client().profile.data_size]
    assert [one.client_id for one in roster.candidates] == ["a", "b", "c", "d"]
    assert roster.candidates[1].data_size == 7
    assert roster.at_hand.tolist() == [True, True, True, False]
    async with db.begin() as tx:
        await tx.clients.remove("b")
        await tx.clients.remove("d")
        await tx.clients.add([client("e", created_at=NOW + 1)])
    roster = await get(db, latest)
    assert list(roster.clients) == await stored(db)
    assert roster.joined.tolist() == [NOW, NOW, NOW + 1]


async def test_a_client_that_was_removed_and_registered_again_is_the_new_one(db: Database) -> None:
    latest = LatestRoster()
    await add(db, client("a"), client("b"))
    await get(db, latest)
    async with db.begin() as tx:
        await tx.clients.remove("b")
    await add(db, client("b", status="suspect"))
    assert (await get(db, latest)).clients[1].status == "suspect"


async def test_a_client_is_new_although_the_one_that_changed_last_was_removed_before(db: Database) -> None:
    latest = LatestRoster()
    await add(db, client("a"), client("b"))
    for rounds in range(1, 4):  # the changes of "b" have the highest numbers
        async with db.begin() as tx:
            await tx.clients.put(client("b", rounds_completed=rounds))
    await get(db, latest)
    async with db.begin() as tx:
        await tx.clients.remove("b")
    await add(db, client("c"))
    assert [one.id for one in (await get(db, latest)).clients] == ["a", "c"]


async def test_a_client_is_new_although_others_have_changed_often_since_one_was_removed(db: Database) -> None:
    latest = LatestRoster()
    await add(db, client("a"), client("b"))
    for rounds in range(1, 4):
        async with db.begin() as tx:
            await tx.clients.put(client("b", rounds_completed=rounds))
    await get(db, latest)
    async with db.begin() as tx:
        await tx.clients.remove("b")
    await add(db, client("b", status="down"))
    for rounds in range(1, 9):
        async with db.begin() as tx:
            await tx.clients.put(client("a", rounds_completed=rounds))
    assert (await get(db, latest)).clients[1].status == "down"


async def test_a_client_is_new_after_the_fleet_was_empty(db: Database) -> None:
    latest = LatestRoster()
    await add(db, client("a"))
    async with db.begin() as tx:
        await tx.clients.put(client("a", rounds_completed=1))
    await get(db, latest)
    async with db.begin() as tx:
        await tx.clients.remove("a")
    await add(db, client("a", status="down"))
    assert (await get(db, latest)).clients[0].status == "down"


async def test_only_what_has_changed_is_read(db: Database) -> None:
    latest = LatestRoster()
    await add(db, *(client(f"c{number}") for number in range(20)))
    first = await get(db, latest)
    async with db.begin() as tx:
        await tx.clients.put(client("c7", breaker=Breaker().isolate(NOW)))
    second = await get(db, latest)
    assert sum(one is not other for one, other in zip(first.clients, second.clients, strict=True)) <= 20
    assert second.closed.tolist().count(False) == 1
    with statements() as sent:
        third = await get(db, latest)
    assert len([text for text in sent if text.startswith("SELECT")]) == 1
    assert third.clients == second.clients


async def test_signs_of_life_and_selections_are_no_news(db: Database) -> None:
    latest = LatestRoster()
    await add(db, client("a"), client("b"))
    await get(db, latest)
    async with db.begin() as tx:
        await tx.clients.put(client("b", rounds_completed=1))
    before = await get(db, latest)
    async with db.begin() as tx:
        await tx.clients.seen({"a": NOW + 5})
        await tx.clients.count_selected(["a"])
    after = await get(db, latest)
    assert after.clients[0] is before.clients[0]


async def test_many_changes_are_read_as_a_whole(db: Database) -> None:
    latest = LatestRoster()
    await add(db, client("a"))
    await get(db, latest)
    await add(db, *(client(f"c{number:03}") for number in range(client_changes.MOST + 1)))
    roster = await get(db, latest)
    assert list(roster.clients) == await stored(db)


async def test_a_transaction_that_began_before_the_last_look_changes_nothing(db: Database) -> None:
    latest = LatestRoster()
    await add(db, client("a"), client("b"))
    await get(db, latest)
    async with db.read() as old:
        await old.clients.count_by_status()  # it has its snapshot from here on
        async with db.begin() as tx:
            await tx.clients.put(client("a", status="down"))
        newer = await get(db, latest)
        assert newer.clients[0].status == "down"
        assert await latest.get(old) is newer
    assert (await get(db, latest)).clients[0].status == "down"


async def test_a_look_that_ends_late_hides_nothing_from_a_transaction_that_began_meanwhile(db: Database) -> None:
    latest = LatestRoster()
    await add(db, client("a"), client("b"))
    async with db.read() as early:
        await early.clients.count_by_status()  # it has its snapshot from here on
        async with db.begin() as tx:
            await tx.clients.put(client("a", status="down"))
        async with db.read() as late:
            await late.clients.count_by_status()
            assert (await latest.get(early)).clients[0].status == "healthy"
            assert (await latest.get(late)).clients[0].status == "down"


async def test_changes_without_a_number_are_noticed_in_the_end(db: Database) -> None:
    patient, hasty = LatestRoster(), LatestRoster(reload_seconds=0.0)
    await add(db, client("a"))
    await add(db, client("b"))
    for latest in (patient, hasty):
        await get(db, latest)
    async with db.begin() as tx:
        await tx.connection.execute(update(clients).where(clients.c.id == "a").values(status="down", change=-1))
    assert (await get(db, patient)).clients[0].status == "healthy"
    assert (await get(db, hasty)).clients[0].status == "down"


def test_a_roster_says_of_whom_nothing_has_to_be_looked_at() -> None:
    roster = Roster.of([client("a"), client("b", status="down"), client("c", breaker=Breaker().isolate(NOW))], floor=3)
    assert roster.at_hand.tolist() == [True, False, False]
    assert roster.closed.tolist() == [True, True, False]
    assert (roster.places, roster.floor) == ({"a": 0, "b": 1, "c": 2}, 3)
    later = roster.changed([client("b"), client("c")], floor=5)
    assert parts(later) == parts(Roster.of([client("a"), client("b"), client("c")], floor=5))
    assert roster.at_hand.tolist() == [True, False, False], "others may still read the old one"
    assert parts(later.changed([client("0")], 6)) == parts(Roster.of([client(name) for name in "0abc"], 6))
