"""Follow the cursors of a list, and give up on a list that does not end."""

from tcsfeel.rest.problems import UnexpectedAnswer

MOST_EMPTY_PAGES = 100  # in a row: a filter may leave pages empty, but hardly so many
LONGEST_CURSOR = 4096  # characters


class Cursors:
    """The cursors that a list has given so far."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._empty = 0

    def check(self, cursor: str, items: int) -> None:
        """Check the cursor of a page with so many items. Raises `UnexpectedAnswer` if the list does not end."""
        self._empty = 0 if items else self._empty + 1
        if self._empty >= MOST_EMPTY_PAGES:
            raise UnexpectedAnswer(f"the list does not end: {self._empty} pages in a row had no items")
        if cursor in self._seen:
            raise UnexpectedAnswer("the list does not end: the server has given the same next_cursor twice")
        if len(cursor) > LONGEST_CURSOR or not cursor.isprintable():
            raise UnexpectedAnswer("next_cursor should be a short text without control characters")
        self._seen.add(cursor)
