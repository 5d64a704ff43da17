"""The catalog of events: it is whole, and each event has the shape that it lists."""

import dataclasses
import importlib
from collections.abc import Iterator
from typing import get_args, get_type_hints

import pytest

from app.domain.events import CATALOG, Event, Subject, catalog
from app.domain.events.event import PLACES

KINDS = [pytest.param(kind, id=name) for name, kind in CATALOG.items()]


def descendants(kind: type[Event]) -> Iterator[type[Event]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def test_every_kind_of_event_is_in_the_catalog_by_its_own_type() -> None:
    typed = {(kind.__module__, kind.__name__) for kind in descendants(Event) if hasattr(kind, "type")}
    assert typed == {(kind.__module__, kind.__name__) for kind in CATALOG.values()}
    assert {name: kind.type for name, kind in CATALOG.items()} == {name: name for name in CATALOG}


def test_the_catalog_has_the_same_kinds_however_often_it_is_built() -> None:
    assert importlib.reload(catalog).CATALOG == CATALOG


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_says_what_it_is_about_and_what_each_field_tells(kind: type[Event]) -> None:
    assert len(kind.type) <= 64
    assert kind.subject in get_args(Subject)
    assert kind.added_in
    assert kind.__doc__
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if field.name in PLACES:
            assert hints[field.name] in {str, int, str | None}
        else:
            (told,) = hints[field.name].__metadata__
            assert isinstance(told, str)
            assert told
