"""Read whole lists page by page, and turn them into tables."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from tcsfeel.contract.pages import Page
from tcsfeel.rest.cursors import Cursors

if TYPE_CHECKING:
    import pandas as pd

Item = TypeVar("Item", bound=BaseModel)


class Pages(Generic[Item]):
    """The items of a list, which are read during the iteration. Each iteration reads the list again."""

    def __init__(self, read: Callable[[str | None], Page[Item]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[Item]:
        cursors = Cursors()
        cursor: str | None = None
        while True:
            page = self._read(cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return
            cursors.check(cursor, len(page.items))

    def to_pandas(self) -> "pd.DataFrame":
        """Make a table with a row for each item and a column for each of its fields."""
        return table(list(self))


class AsyncPages(Generic[Item]):
    """The items of a list for event loops, which are read during the iteration. Each iteration reads the list again."""

    def __init__(self, read: Callable[[str | None], Awaitable[Page[Item]]]) -> None:
        self._read = read

    async def __aiter__(self) -> AsyncIterator[Item]:
        cursors = Cursors()
        cursor: str | None = None
        while True:
            page = await self._read(cursor)
            for item in page.items:
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return
            cursors.check(cursor, len(page.items))

    async def to_pandas(self) -> "pd.DataFrame":
        """Make a table with a row for each item and a column for each of its fields."""
        return table([item async for item in self])


def table(items: Sequence[BaseModel]) -> "pd.DataFrame":
    """Make a table. Fields of nested models get names such as `selection.strategy`; lists and maps stay as they are.

    A map such as `plan.parents` may have an entry for each client, which would be as many columns.
    """
    try:
        import pandas as pd  # noqa: PLC0415  (takes a second to import, and few have it)
    except ModuleNotFoundError as error:
        raise ImportError(
            "to_pandas needs pandas, which the extra `pandas` installs: pip install 'tcsfeel[pandas]'"
        ) from error
    return pd.DataFrame([_row(item, item.model_dump()) for item in items])


def _row(item: BaseModel, dumped: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name, value in dumped.items():
        part = getattr(item, name)
        cells |= _row(part, value, f"{prefix}{name}.") if isinstance(part, BaseModel) else {f"{prefix}{name}": value}
    return cells
