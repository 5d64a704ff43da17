"""The sentences about wrong fields, which servers and clients share."""

import pytest
from pydantic import ValidationError

from tcsfeel.contract.sentences import pointer, sentence, summary
from tcsfeel.contract.trainings import CreateTraining


def test_errors_are_pointers_and_sentences_without_the_words_of_pydantic() -> None:
    with pytest.raises(ValidationError) as found:
        CreateTraining.model_validate_json('{"selection": {"min_clients": 0}, "colour": "red", "seed": "1"}')
    wrong = {pointer(entry): sentence(entry) for entry in map(dict, found.value.errors())}
    assert wrong == {
        "/name": "is required",
        "/selection/min_clients": "should be greater than or equal to 1",
        "/colour": "is not a known field or parameter: remove it",
        "/seed": "should be a valid integer",
    }


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (1, "/a0 is wrong"),
        (3, "/a0 is wrong; /a1 is wrong; /a2 is wrong"),
        (4, "/a0 is wrong; /a1 is wrong; /a2 is wrong; 1 more is listed in errors"),
        (100, "/a0 is wrong; /a1 is wrong; /a2 is wrong; 97 more are listed in errors"),
    ],
)
def test_a_summary_names_three_fields_and_counts_the_others(number: int, told: str) -> None:
    assert summary([(f"/a{index}", "is wrong") for index in range(number)]) == told


def test_the_root_of_a_body_is_called_the_body() -> None:
    assert summary([("", "is required")]) == "the body is required"
