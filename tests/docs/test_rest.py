"""The REST API and the agent protocol, against their pages."""

import re
from typing import get_args

from fastapi import FastAPI

from app.http import catalog
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.wire import headers
from tests.docs.pages import CODE, page

OPERATION = re.compile(r"`(GET|HEAD|POST|PUT|PATCH|DELETE) (/[^\s`]*)`")


def test_every_operation_is_described_and_every_described_one_exists(app: FastAPI) -> None:
    described = {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in OPERATION.findall(page("rest.md"))}
    existing = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    }
    assert described == existing


def test_every_field_of_requests_and_responses_is_named(app: FastAPI) -> None:
    text = page("rest.md")
    schemas = app.openapi()["components"]["schemas"]
    fields = {name for schema in schemas.values() for name in schema.get("properties", {})}
    assert {name for name in fields if not re.search(rf"\b{name}\b", text)} == set()


def test_the_aggregation_rules_are_listed() -> None:
    table = page("rest.md").split("\n| `aggregation` | what it does |")[1].split("\n\n")[0]
    listed = [rule for line in table.splitlines()[1:] for rule in CODE.findall(line.split("|")[1])]
    assert sorted(listed) == sorted(get_args(Aggregation))


def test_the_types_of_errors_are_listed_with_their_statuses() -> None:
    section = page("rest.md").split("### Errors")[1].split("\n### ")[0]
    listed = set(re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", section, re.MULTILINE))
    known = {(str(int(kind.status)), kind.name) for kind in catalog.CATALOG.values()}
    assert known - listed == {
        ("422", "update-rejected"),
        ("409", "unusable-round"),
    }  # what agents send, never an answer
    assert listed - known <= {("405", "method-not-allowed"), ("500", "internal"), ("501", "not-implemented")}


def test_the_protocol_lists_the_dtypes_of_the_code() -> None:
    (listed,) = re.findall(r"`dtype` is one of `([A-Z0-9 ]+)`", page("agent-protocol.md"))
    assert set(listed.split()) == set(headers.DTYPES)
