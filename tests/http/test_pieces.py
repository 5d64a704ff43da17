"""Long bodies, cut into pieces without being parsed."""

import json
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st

from app.http.pieces import CUT, ELEMENT_BYTES, pieces

TEXT = st.text(alphabet='ab"\\[]{},: \u00e9', max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def joined(text: bytes, *lists: str) -> dict[str, Any]:
    """What the pieces say together."""
    found: dict[str, Any] = {}
    for piece in pieces(memoryview(text), lists=lists):
        if piece.first is None:
            found[piece.key] = json.loads(piece.text)
        else:
            assert piece.first == len(found.setdefault(piece.key, []))
            found[piece.key] += json.loads(piece.text)
    return found


@given(st.dictionaries(st.sampled_from(["clients", "costs", "x"]), JSON), st.sampled_from([None, 1, 3]))
def test_the_pieces_together_say_what_the_body_says(body: dict[str, Any], indent: int | None) -> None:
    assert joined(json.dumps(body, indent=indent).encode(), "clients", "costs") == body


def test_a_long_list_comes_in_many_pieces_of_whole_elements() -> None:
    body = {"clients": [{"id": f"edge-{number}", "tags": {"a]": '"},{"'}} for number in range(20_000)]}
    text = json.dumps(body).encode()
    assert joined(text, "clients") == body
    sizes = [len(piece.text) for piece in pieces(memoryview(text), lists=["clients"])]
    assert len(sizes) == len(text) // CUT + 1
    assert max(sizes) < 1.01 * CUT


FILL = b'"' + b"x" * CUT + b'"'
NO_JSON = [
    b"",
    b"[]",
    b"{",
    b'{"clients"',
    b'{"clients":',
    b'{"clients":[',
    b'{"clients":[1',
    b'{"clients":["',
    b'{"clients":[1]',
    b'{"clients":[1]}x',
    b'{"clients":[1],}',
    b'{"clients":[1]"x":2}',
    b"{clients:[1]}",
    b'{"clients":[%b,]}' % FILL,
    b'{"clients":[%b, }' % FILL,
]


@pytest.mark.parametrize("text", NO_JSON)
def test_what_is_no_object_of_lists_is_refused(text: bytes) -> None:
    with pytest.raises((RequestValidationError, ValueError)) as caught:
        joined(text, "clients")
    if isinstance(caught.value, RequestValidationError):
        assert caught.value.errors()[0]["type"] == "json_invalid"


BOUNDED = {
    "an element that is too long": b'{"clients":[1,"%b"]}' % (b"x" * (CUT + ELEMENT_BYTES)),
    "a list that is too deep": b'{"clients":[1,%b' % (b"[" * 9),
    "an object that is too deep": b'{"clients":[1,%b' % (b'{"a":' * 9),
    "too many parts": b'{"clients":[1,[%b]]}' % (b"[]," * 20_000),
}


@pytest.mark.parametrize("text", BOUNDED.values(), ids=BOUNDED)
def test_an_element_is_bounded_by_its_number(text: bytes) -> None:
    with pytest.raises(RequestValidationError) as caught:
        joined(text, "clients")
    (error,) = caught.value.errors()
    assert error["loc"] == ("body", "clients", 1)


def test_a_field_that_is_there_twice_is_refused() -> None:
    with pytest.raises(RequestValidationError) as caught:
        joined(b'{"clients":[1],"clients":[2]}', "clients")
    assert caught.value.errors() == [{"type": "value_error", "loc": ("body", "clients"), "msg": "appears twice"}]
