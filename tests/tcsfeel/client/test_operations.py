"""Both clients against the REST API's own document: no operation is missing, and both have the same methods."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app.main import create_app
from tcsfeel.client import AsyncClient, Client
from tcsfeel.contract.trainings import TrainingOut
from tests.planes import settings

CLIENTS = [Client, AsyncClient]


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(settings(tmp_path, f"sqlite+aiosqlite:///{tmp_path}/none.db"))


def named(app: FastAPI) -> set[str]:
    """The operations of the document, without what the framework adds to their ids."""
    found = set()
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            ending = "_" + "".join(letter if letter.isalnum() else "_" for letter in path[1:]) + f"_{method}"
            assert operation["operationId"].endswith(ending), operation["operationId"]
            found.add(operation["operationId"].removesuffix(ending))
    return found


@pytest.mark.parametrize("client", CLIENTS)
def test_each_operation_of_the_document_is_a_method(client: type, app: FastAPI) -> None:
    operations = named(app)
    assert len(operations) == sum(map(len, app.openapi()["paths"].values()))
    assert "get_round_selection" in operations
    without_one = {name for name in operations if not callable(getattr(client, name, None))}
    assert without_one == {"stream_events"}, "`events` follows the same events by `list_events`"


def public(client: type) -> dict[str, Any]:
    names = {name for name in vars(client) if not name.startswith("_")} - {"close", "aclose"}
    return {name: getattr(client, name) for name in names}


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    blocking, asynchronous = public(Client), public(AsyncClient)
    assert blocking.keys() == asynchronous.keys()
    for name, method in blocking.items():
        assert inspect.signature(method).parameters == inspect.signature(asynchronous[name]).parameters, name
        assert inspect.getdoc(method) == inspect.getdoc(asynchronous[name]), name
        assert inspect.getdoc(method), name


@pytest.mark.parametrize("client", CLIENTS)
def test_methods_show_what_they_return_and_not_how_they_ask(client: type) -> None:
    for name, method in public(client).items():
        assert "Generator" not in str(inspect.signature(method)), name
    assert inspect.signature(public(client)["get_training"]).return_annotation is TrainingOut
    assert list(inspect.signature(public(client)["get_training"]).parameters) == ["self", "training_id"]
