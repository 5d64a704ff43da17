"""Following the log through the service, as streams will."""

from typing import Any

from app.domain.events.clients import ClientRemoved, ClientUpdated
from app.domain.events.trainings import TrainingCreated
from app.services.events.log import EventLog
from app.store.database import Database
from app.store.reading import LISTED
from tcsfeel.text import LONGEST

WIDE = 1100  # fields of an event, each of which is a text of the greatest length


async def followed(log: EventLog, *, limit: int = 2, **only: Any) -> tuple[list[int], list[int]]:
    """The ids of all events that match, and how many came with each page."""
    ids: list[int] = []
    sizes: list[int] = []
    cursor, more = 0, True
    while more:
        page = await log.page(after=cursor, limit=limit, **only)
        ids += [event.id for event in page.items]
        sizes.append(len(page.items))
        cursor, more = page.cursor, page.more
    return ids, sizes


async def test_pages_lead_through_the_whole_log_and_through_a_part_of_it(db: Database) -> None:
    async with db.begin() as tx:
        for name in "abc":
            await tx.events.append(TrainingCreated(training_id=name, name=name))
            await tx.events.append(ClientRemoved(client_id=name))
    log = EventLog(db)
    assert await followed(log, limit=4) == ([1, 2, 3, 4, 5, 6], [4, 2])
    assert await followed(log, training_id="b") == ([3], [1])
    assert await followed(log, client_id="c") == ([6], [1])
    assert await followed(log, types=["client.removed"]) == ([2, 4, 6], [2, 1])
    assert await followed(log, types=["client.removed"], training_id="a") == ([], [0])


async def test_a_page_is_no_longer_than_an_answer_may_be(sqlite: Database) -> None:
    long = ClientUpdated(client_id="a", fields=("x" * LONGEST,) * WIDE)
    assert LISTED / 2 < WIDE * LONGEST < LISTED
    async with sqlite.begin() as tx:
        for _ in range(5):
            await tx.events.append(long)
    assert await followed(EventLog(sqlite), limit=100) == ([1, 2, 3, 4, 5], [2, 2, 1])
