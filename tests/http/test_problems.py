"""Limits in the words of a refusal."""

from typing import Annotated

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import Field, TypeAdapter, ValidationError

from app.http.faults import field_problems
from app.http.pieces import pieces


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"clients": [' + b"[" * 9 + b"]" * 9 + b"]}", "should be nested at most 8 levels deep"),
        (b'{"clients": [[' + b"[]," * 20_001 + b"[]]]}", "should contain at most 20000 lists, objects and strings"),
    ],
)
def test_an_element_that_is_refused_for_a_limit_names_that_limit_alone(body: bytes, words: str) -> None:
    with pytest.raises(RequestValidationError) as refused:
        list(pieces(memoryview(body), lists={"clients"}))
    assert [problem.detail for problem in field_problems(refused.value.errors())] == [words]


def test_maps_and_lists_that_are_too_long_are_refused_in_like_words() -> None:
    kind = TypeAdapter(Annotated[dict[str, int], Field(max_length=1)])
    with pytest.raises(ValidationError) as refused:
        kind.validate_python({"a": 1, "b": 2})
    details = [problem.detail for problem in field_problems(refused.value.errors())]
    assert details == ["should have at most 1 item"]
