"""Text from outside, as it is stored, logged and shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.text import SHOWN, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("out of memory", "out of memory"),
        ("größer als 3 µm", "größer als 3 µm"),
        ("two\r\nlines\tand  more", "two lines and more"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("a\x00b", "a b"),
        ("a\ud800b", "a b"),
        ("a\u202eb\u2066c", "a b c"),
        ("", ""),
    ],
)
def test_text_becomes_one_line_that_prints(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"), [("12345678", "12345678"), ("123456789", "1234567…"), (" " * 33, "…"), ("1" + " " * 32, "1…")]
)
def test_text_that_is_too_long_is_cut(text: str, shown: str) -> None:
    assert plain(text, 8) == shown


@given(st.text(st.characters(), max_size=1000))
def test_any_text_can_be_encoded_and_is_short(text: str) -> None:
    shown = plain(text)
    assert len(shown) <= SHOWN
    assert shown.isprintable()
    shown.encode()
    assert plain(shown) == shown
