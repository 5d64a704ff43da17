"""Records hold what their rules allow, however they are made, and an error leads to the field that breaks its rule."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from tcsfeel.wire.records import Record, Rule, WrongField, from_json, mapping, one_of, real, scalar, text, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Record):
    rules: ClassVar[Mapping[str, Rule]] = {
        "name": text(1, 4),
        "colour": one_of("red", "green", "blue"),
        "count": whole(0, 10),
        "share": real(0, 1),
        "pause": real(above=0),
        "more": mapping(scalar),
    }

    name: str
    colour: str = "red"
    count: int = 1
    share: float = 0.5
    pause: float = 1.0
    more: Mapping[str, object] = field(default_factory=dict)


SCALARS = {"a": True, "b": 10**400, "c": -0.5, "d": "x", "e": None}
KEPT: dict[str, tuple[Any, Any]] = {
    "name": ("a\u00e9\x00\n", "a\u00e9\x00\n"),
    "colour": ("blue", "blue"),
    "count": (10, 10),
    "share": (1, 1.0),
    "pause": (5e-324, 5e-324),
    "more": (SCALARS, SCALARS),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_value_that_follows_its_rule_is_kept_in_its_exact_type(name: str) -> None:
    given, kept = KEPT[name]
    read = from_json(Sample, json.dumps({"name": "n", name: given}))

    assert read == replace(Sample(name="n"), **{name: given})
    assert getattr(read, name) == kept
    assert type(getattr(read, name)) is type(kept)
    assert from_json(Sample, read.to_json()) == read


@pytest.mark.parametrize(
    ("name", "value", "place", "rule"),
    [
        ("name", "", "name", "should have at least 1 character"),
        ("name", "abcde", "name", "should have at most 4 characters"),
        ("name", 7, "name", "should be a valid string"),
        ("name", "\ud800", "name", "should be a valid string"),
        ("colour", "pink", "colour", "should be 'red', 'green' or 'blue'"),
        ("colour", ["red"], "colour", "should be 'red', 'green' or 'blue'"),
        ("count", True, "count", "should be a valid integer"),
        ("count", 1.0, "count", "should be a valid integer"),
        ("count", "1", "count", "should be a valid integer"),
        ("count", None, "count", "should be a valid integer"),
        ("count", -1, "count", "should be greater than or equal to 0"),
        ("count", 10**4000, "count", "should be less than or equal to 10"),
        ("share", True, "share", "should be a valid number"),
        ("share", "1", "share", "should be a valid number"),
        ("share", -5e-324, "share", "should be greater than or equal to 0"),
        ("share", 1 + 2**-52, "share", "should be less than or equal to 1"),
        ("share", math.nan, "share", "should be a finite number"),
        ("share", -math.inf, "share", "should be a finite number"),
        ("share", 10**400, "share", "should be a finite number"),
        ("pause", -0.0, "pause", "should be greater than 0"),
        ("more", [], "more", "should be an object"),
        ("more", {"a": [1]}, "more.a", "should be a boolean, a finite number, a valid string or null"),
        ("more", {"a": math.inf}, "more.a", "should be a boolean, a finite number, a valid string or null"),
        ("more", {"a": "\udfff"}, "more.a", "should be a boolean, a finite number, a valid string or null"),
        ("more", {"\ud800": 1}, r"more.'\ud800'", "should be a valid string"),
        ("more", {"a.b": {}}, "more.'a.b'", "should be a boolean, a finite number, a valid string or null"),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_with_its_place(name: str, value: Any, place: str, rule: str) -> None:
    with pytest.raises(WrongField) as made:
        Sample(**{"name": "n", name: value})
    with pytest.raises(WrongField) as read:
        from_json(Sample, json.dumps({"name": "n", name: value}))

    for caught in (made.value, read.value):
        assert (caught.place, caught.rule) == (place, rule)
        assert str(caught) == f"{place} {rule}"


def test_a_float_of_numpy_is_a_float_and_another_number_of_numpy_is_none() -> None:
    assert Sample(name="n", share=np.float64(0.25)).share == 0.25
    with pytest.raises(WrongField, match="share should be a valid number"):
        Sample(name="n", share=np.float32(0.25))  # type: ignore[arg-type]  # which this is about


def test_a_missing_field_is_named_and_an_unknown_one_is_ignored() -> None:
    with pytest.raises(WrongField, match=r"^name is required$"):
        from_json(Sample, '{"colour": "red"}')
    assert from_json(Sample, '{"name": "n", "depth": [NaN, {}]}') == Sample(name="n")


GARBAGE = {
    "nothing": "",
    "an open object": "{",
    "brackets without end": "[" * 1_000_000,
    "objects without end": '{"a":' * 200_000,
    "nested lists": '{"name": "n", "depth": ' + "[" * 400_000 + "]" * 400_000 + "}",
    "a number of a million digits": '{"count": ' + "9" * 1_000_000 + "}",
    "an ignored number of a million digits": '{"name": "n", "depth": -' + "9" * 1_000_000 + "}",
    "a control character": '{"name": "\x1b[2J"}',
    "a broken escape": '{"name": "\\x1b"}',
    "text behind the end": '{"name": "n"} \x1b[2J',
    "a byte order mark": '\ufeff{"name": "n"}',
    "a word": "\x1b[2J\u202e",
}


@pytest.mark.parametrize("found", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_no_json_is_refused_in_a_few_printable_words(found: str) -> None:
    with pytest.raises(WrongField, match=r"^is not JSON: ") as caught:
        from_json(Sample, found)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("found", ["[]", "null", "1e999", "NaN", '"name"', "true"])
def test_what_is_no_object_is_refused(found: str) -> None:
    with pytest.raises(WrongField, match=r"^should be an object$"):
        from_json(Sample, found)


@pytest.mark.parametrize("name", ["\x1b[2J", "\u202e", "\n", "w" * 1_000_000, "\x07" * 1_000_000, ""])
def test_a_hostile_name_is_escaped_and_cut_short(name: str) -> None:
    with pytest.raises(WrongField) as caught:
        from_json(Sample, json.dumps({"name": "n", "more": {name: []}}))

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
