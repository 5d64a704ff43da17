"""Text from outside, as it is stored, logged and shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsfeel.text import LONGEST, SHOWN, escaped, listed, moment, plain


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


def test_the_first_are_named_with_their_reasons_and_the_others_counted_by_kind() -> None:
    assert listed([]) == ""
    assert listed([("b", "its status is down: since noon"), ("a", "it\nhas no data")]) == (
        "a: it has no data; b: its status is down: since noon"
    )
    many = [(f"{number:03}", f"kind {number % 2}: {number}") for number in range(108)]
    named = "; ".join(f"{name}: {reason}" for name, reason in many[:20])
    assert listed(many) == f"{named}; and 88 more (44 x kind 0, 44 x kind 1)"


def test_a_list_of_reasons_is_short_whatever_they_are() -> None:
    assert len(listed((f"{number}", f"{number}" + "x" * 10**4) for number in range(1000))) < 3900


def test_a_moment_is_told_in_utc() -> None:
    assert moment(1_700_000_000.75) == "2023-11-14 22:13:20 UTC"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größer als 3 µm", "größer als 3 µm"),
        ("a\x1b[2J\r\nb", "a\\x1b[2J\\r\\nb"),
        ("\u202e\ud800\0", "\\u202e\\ud800\\x00"),
        ("x" * 4001, "x" * 3999 + "…"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


@given(st.text(st.characters()))
def test_any_text_can_be_printed_once_it_is_escaped(text: str) -> None:
    shown = escaped(text)
    assert shown.isprintable()
    assert len(shown) <= 10 * LONGEST
    assert escaped(shown) == shown


def test_names_with_a_reason_that_many_have_may_only_be_counted() -> None:
    many = [(f"a{number}", "it was not asked for") for number in range(30)]
    assert listed([*many, ("z", "its status is down")], ["it was not asked for"]) == (
        "z: its status is down; and 30 more (30 x it was not asked for)"
    )
    assert listed(many, ["it was not asked for"]) == "30 more (30 x it was not asked for)"
