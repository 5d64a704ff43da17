"""Many rows, read in turns and counted by their weight, on both databases."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.clients import Client
from app.store.clients import CHUNK
from app.store.database import Database
from app.store.reading import MANY, ROW, STATEMENT, VALUE, following, weigh
from tests.lag import turns
from tests.store.samples import client

FIRST = MANY // 4


async def add(db: Database, *clients: Client) -> None:
    async with db.begin() as tx:
        await tx.clients.add(clients)


@pytest.mark.parametrize(
    ("row", "weight"),
    [
        ((), 0),
        ((None, 1, 2.5, True), 0),
        (("abc", b"de"), 5),
        (([1.0, 2.0],), 2 * VALUE),
        (({"ab": 1, "c": "wxyz"},), 3 + VALUE + 4),
        (([{"a": ["bc", None]}],), 1 + 2 + VALUE),
    ],
)
def test_a_row_weighs_what_its_long_values_do(row: tuple[Any, ...], weight: int) -> None:
    assert weigh(row) == ROW + weight


@pytest.mark.parametrize("count", [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + MANY, 3 * MANY])
async def test_every_client_is_read_once_however_many_there_are(db: Database, count: int) -> None:
    names = [f"client-{number:03}" for number in range(count)]
    await add(db, *map(client, reversed(names)))
    async with db.read() as tx:
        assert [found.id for found in await tx.clients.all()] == names
        for limit in {1, count - 1, count, count + 1} - {0, -1}:
            page = await tx.clients.page(limit=limit, after=None, status=None, tags=())
            assert [found.id for found in page.items] == names[:limit]
            assert page.more == (count > limit)


async def test_others_have_their_turn_while_clients_of_a_round_are_read(db: Database) -> None:
    names = [f"client-{number:04}" for number in range(2 * CHUNK)]
    await add(db, *map(client, names))
    async with db.read() as tx, turns() as counted:
        await tx.clients.some(names)
    assert counted.number >= 5  # each row weighs some 500


async def test_a_page_ends_with_the_client_with_which_it_is_long_enough(db: Database) -> None:
    labels = replace(client().profile, data_distribution=[0.5] * 1000)  # which weigh 20 000
    await add(db, *map(client, "abc"), *(client(name, profile=labels) for name in "defg"), client("h"))
    read: list[list[str]] = []
    after, more = None, True
    while more:
        async with db.read() as tx:
            page = await tx.clients.page(limit=5, after=after, status=None, tags=(), most_bytes=40_000)
        read.append([found.id for found in page.items])
        after, more = page.items[-1].id, page.more
    assert read == [["a", "b", "c", "d", "e"], ["f", "g"], ["h"]]


@pytest.mark.parametrize(
    ("size", "weight", "wanted"),
    [
        (10, 10 * ROW, 50),
        (50, 50 * ROW, MANY),
        (MANY, MANY * ROW, MANY),
        (10, STATEMENT, 10),
        (100, 10 * STATEMENT, 10),
        (10, 100 * STATEMENT, 1),
        (1, 2 * STATEMENT, 1),
    ],
)
def test_pages_of_a_fleet_get_as_long_as_they_are_quick(size: int, weight: int, wanted: int) -> None:
    assert following(size, weight, MANY) == wanted
