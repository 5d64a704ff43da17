"""The page of events, which is what the catalog says."""

import dataclasses
import inspect
from typing import get_type_hints

from app.domain.events import CATALOG, Event
from app.domain.events.event import PLACES
from tests.docs.pages import page

HEAD = ["| type | subject | since | when | `data` |", "|---|---|---|---|---|"]


def row(kind: type[Event]) -> str:
    hints = get_type_hints(kind, include_extras=True)
    named = [field.name for field in dataclasses.fields(kind) if field.name not in PLACES]
    data = "; ".join(f"`{name}`: {hints[name].__metadata__[0]}" for name in named)
    when = " ".join((inspect.getdoc(kind) or "").split())
    return f"| `{kind.type}` | {kind.subject} | {kind.added_in} | {when} | {data} |"


def test_the_table_is_that_of_the_catalog() -> None:
    table = [line for line in page("events.md").split("\n## The catalog\n")[1].splitlines() if line.startswith("|")]
    assert table == HEAD + [row(kind) for kind in CATALOG.values()]
