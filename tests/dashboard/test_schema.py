"""The form of the dashboard: what it asks for, and that its rules are those of the server."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from app.main import create_app
from tcsfeel.contract.recipes import RECIPES
from tcsfeel.contract.trainings import CreateTraining
from tests.nodejs import needs_node, run
from tests.planes import settings

pytestmark = needs_node

TEXTS = [
    *("", " ", "0", "-1", "1", "2", "10", "0.5", "1.5", "0.009", "0.99", "1e6", "1e7", "1e9", "1e12", "1e13", "1e16"),
    *("9007199254740991", "9007199254740992", "-1e15", "x", "1,5", "NaN", "Infinity", "0x1"),
    *("true", "max", "star", "int8", "a" * 64, "a" * 257, "line\u2028separator", "edge-1, edge-2", "site: north"),
]
FORM = """
    const { fieldsOf, read, bounds } = await import("./schema.js");
    const fields = fieldsOf(given.document, "CreateTraining");
    const all = (field) => given.texts.map((text) => read(field, text));
    return fields.map((field) => ({ ...field, range: bounds(field), read: all(field) }));
"""


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The fields of the form by their paths, with what it makes of each text."""
    directory = tmp_path_factory.mktemp("form")
    app = create_app(settings(directory, f"sqlite+aiosqlite:///{directory}/never.db"))
    found = run(directory / "dashboard", FORM, {"document": app.openapi(), "texts": TEXTS})
    return {field["path"]: field for field in found}


def refused(path: str, value: Any) -> bool:
    """Tell whether the server refuses a value of a field because of the field itself, not because of another one."""
    *above, name = path.split("/")
    goal = {"goal": {"metric": "rmse", "mode": "max"}} if above == ["goal"] else {}
    body: dict[str, Any] = {"name": "digits", **goal}
    place = body
    for part in above:
        place = place.setdefault(part, {})
    place[name] = value
    try:
        CreateTraining.model_validate_json(json.dumps(body))
    except ValidationError as error:
        own = [found for found in error.errors() if found["type"] != "value_error"]
        return any([str(part) for part in found["loc"]][: len(above) + 1] == [*above, name] for found in own)
    return False


def test_the_form_explains_each_field_with_the_text_of_the_document(fields: Mapping[str, Any]) -> None:
    assert len(fields) > 50
    assert [path for path, field in fields.items() if not field["text"]] == []
    assert fields["selection/min_clients"]["text"] == "Fewest clients of a round"
    assert fields["round_policy/quorum"]["about"] == "When a round ends."


def test_the_form_asks_for_every_field_of_a_new_training(fields: Mapping[str, Any]) -> None:
    """A strategy's own parameters come from the list of strategies; keys of your own are for programs."""
    asked = {path.split("/")[0] for path in fields}
    assert asked == set(CreateTraining.model_fields)
    assert [path for path, field in fields.items() if field["required"]] == ["name"]


def test_the_form_has_the_kinds_bounds_and_defaults_of_the_document(fields: Mapping[str, Any]) -> None:
    assert fields["max_rounds"]["range"] == "At least 1, at most 1,000,000."
    assert fields["hyperparameters/learning_rate"]["range"] == "More than 0, at most 1,000,000."
    assert fields["hyperparameters/server_momentum"]["range"] == "At least 0, less than 1."
    assert fields["selection/budget_constraint"]["range"] == "More than 0."
    assert fields["name"]["range"] == ""
    assert fields["selection/min_clients"]["preset"] == 10
    kinds = {"retention/keep_best": "boolean", "topology": "enum", "where/tags": "map", "where/clients": "array"}
    assert {path: fields[path]["kind"] for path in kinds} == kinds


def test_the_document_has_the_defaults_of_the_recipes(fields: Mapping[str, Any]) -> None:
    assert fields["recipe"]["recipes"] == RECIPES


def test_the_form_refuses_what_the_server_refuses(fields: Mapping[str, Any]) -> None:
    """Each text in each field. Enumerations are lists to choose from, and ids in lists are left to the server."""
    compared = 0
    for path, field in fields.items():
        if field["kind"] in {"enum", "boolean", "array"}:
            continue
        for text, (value, problem) in zip(TEXTS, field["read"], strict=True):
            if value is not None:
                compared += 1
                assert bool(problem) == refused(path, value), (path, text, value, problem)
    assert compared > 400


@pytest.mark.parametrize(
    ("path", "text", "value", "problem"),
    [
        ("name", "", None, "should have a value"),
        ("max_rounds", "", None, ""),
        ("max_rounds", "1.5", 1.5, "should be a whole number"),
        ("max_rounds", "0", 0, "should be at least 1"),
        ("max_rounds", "1e7", 10_000_000, "should be at most 1,000,000"),
        ("max_rounds", "x", None, "should be a number, such as 0.5"),
        ("target_accuracy", "0", 0, "should be more than 0"),
        ("hyperparameters/server_trim_fraction", "0.5", 0.5, "should be less than 0.5"),
        ("where/clients", "edge-1, edge-2", ["edge-1", "edge-2"], ""),
        ("where/tags", "site: north", {"site": "north"}, ""),
        ("where/tags", "edge-1, edge-2", None, "should be tags such as site: north, separated by commas"),
        ("retention/keep_best", "true", True, ""),
    ],
)
def test_what_is_entered_becomes_a_value_or_a_sentence(
    fields: Mapping[str, Any], path: str, text: str, value: Any, problem: str
) -> None:
    assert fields[path]["read"][TEXTS.index(text)] == [value, problem]
