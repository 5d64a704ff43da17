"""Read whole lists page by page, and turn them into tables."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

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

    The columns are those of the items' model in its order, whatever is null. Only a map of models, such as `metrics`,
    has columns for each name in it. A map such as `plan.parents` may have an entry for each client, which would be as
    many columns.
    """
    try:
        import pandas as pd  # noqa: PLC0415  (takes a second to import, and few have it)
    except ModuleNotFoundError as error:
        raise ImportError(
            "to_pandas needs pandas, which the extra `pandas` installs: pip install 'tcsfeel[pandas]'"
        ) from error
    if not items:
        return pd.DataFrame()
    return pd.DataFrame(_columns(type(items[0]), [item.model_dump() for item in items]))


def _columns(model: type[BaseModel], rows: Sequence[dict[str, Any] | None], prefix: str = "") -> dict[str, list[Any]]:
    """Make the columns for the fields of a model. A row is None where there is no such model."""
    columns: dict[str, list[Any]] = {}
    for field, described in model.model_fields.items():
        cells = [None if row is None else row[field] for row in rows]
        nested, is_map = _model_in(described.annotation)
        if nested is None:
            columns[f"{prefix}{field}"] = cells
        elif is_map:
            for name in sorted({name for cell in cells for name in cell or ()}):
                columns |= _columns(nested, [(cell or {}).get(name) for cell in cells], f"{prefix}{field}.{name}.")
        else:
            columns |= _columns(nested, cells, f"{prefix}{field}.")
    return columns


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the model that a field holds, possibly among others such as None, and whether in a map by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _model_in(arguments[0])
    if origin is dict:
        model, in_map = _model_in(arguments[1])
        return (None if in_map else model), True
    if origin in {Union, UnionType}:
        return next((found for found in map(_model_in, arguments) if found[0] is not None), (None, False))
    return None, False
