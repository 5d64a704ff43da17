"""Read the log of events page by page, as a base for streams of events."""

from collections.abc import Collection

from app.store.database import Database
from app.store.events import EventPage
from app.store.reading import LISTED


class EventLog:
    """Follows the log of events."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(
        self,
        *,
        after: int,
        limit: int,
        training_id: str | None = None,
        client_id: str | None = None,
        types: Collection[str] = (),
    ) -> EventPage:
        """Give events beyond the cursor `after`, oldest first, of one training or client, or of some types, or all.

        A reader begins with 0 and goes on with the `cursor` of each page: it gets every event that matches, once. A
        page has fewer than `limit` events where more would be too long for an answer.
        """
        async with self._db.read() as tx:
            return await tx.events.after(
                after, training_id=training_id, client_id=client_id, types=types, limit=limit, most_bytes=LISTED
            )
