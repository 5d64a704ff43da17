"""Cursors, and pages cut to their limit."""

import base64
from typing import Any

import pytest

from app.http.pages import decode_cursor, encode_cursor, page_of
from app.store.reading import Part
from tcsfeel.errors import Invalid


@pytest.mark.parametrize(
    ("key", "kinds"),
    [
        (("edge-7",), (str,)),
        ((0,), (int,)),
        ((2**31 - 1,), (int,)),
        ((1795519755.77, "a.b_c-D"), (float, str)),
        ((0.1 + 0.2, "x"), (float, str)),
    ],
)
def test_a_cursor_gives_back_its_key_exactly(key: tuple[Any, ...], kinds: tuple[type, ...]) -> None:
    cursor = encode_cursor(*key)
    assert decode_cursor(cursor, *kinds) == key
    assert cursor.replace("-", "").replace("_", "").isalnum()  # fit for a URL as it is


def test_without_a_cursor_there_is_no_key() -> None:
    assert decode_cursor(None, str) is None


def raw(text: str | bytes) -> str:
    return base64.urlsafe_b64encode(text.encode() if isinstance(text, str) else text).decode().rstrip("=")


@pytest.mark.parametrize(
    ("cursor", "kinds"),
    [
        ("", (str,)),
        ("!", (str,)),
        ("WyJhIl0=WyJhIl0=", (str,)),
        (raw(b"\xff"), (str,)),
        (raw("null"), (str,)),
        (raw('{"0": "a"}'), (str,)),
        (raw("[]"), (str,)),
        (raw('["a", "b"]'), (str,)),
        (raw("[1]"), (str,)),
        (raw('["a b"]'), (str,)),
        (raw('["\\u0000"]'), (str,)),
        (raw('["\\ud800"]'), (str,)),
        (raw('["a\\n"]'), (str,)),
        (raw("[true]"), (int,)),
        (raw("[1.0]"), (int,)),
        (raw("[-1]"), (int,)),
        (raw("[2147483648]"), (int,)),
        (raw(f"[{'9' * 5000}]"), (int,)),
        (raw('[1, "a"]'), (float, str)),
        (raw('[NaN, "a"]'), (float, str)),
        (raw('[1e999, "a"]'), (float, str)),
        (raw("[" * 100_000), (str,)),
    ],
)
def test_what_no_page_gave_is_refused_by_name(cursor: str, kinds: tuple[type, ...]) -> None:
    with pytest.raises(Invalid) as refused:
        decode_cursor(cursor, *kinds)
    assert refused.value.pointer == "/query/cursor"


@pytest.mark.parametrize(("found", "more"), [([], False), ([1, 2], False), ([1, 2], True)])
def test_a_page_has_a_cursor_where_there_is_more(found: list[int], more: bool) -> None:
    page = page_of(Part(found, more), lambda number: number, lambda number: (number,))
    assert page.items == found
    assert page.next_cursor == (encode_cursor(found[-1]) if more else None)
