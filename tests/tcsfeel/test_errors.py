"""Errors survive the way through process pools, which pickle them, and through `copy`."""

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, get_type_hints

import pytest

import app
import tcsfeel
from tcsfeel.client import Conflict, FieldError
from tcsfeel.inbound.pace import Pace

VALUES: dict[Any, Any] = {
    str: "two words",
    int: 7,
    float: 1.5,
    Sequence[str]: ("a", "b"),
    HTTPStatus: HTTPStatus.NOT_FOUND,
    Pace: Pace(30.0, 100.0),
}


def modules() -> Iterator[Any]:
    """All modules of both distributions, apart from those that only run."""
    for package in (app, tcsfeel):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" not in found.name and not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def kinds() -> list[type[Exception]]:
    """All classes of exceptions that the modules define."""
    found = {
        kind
        for module in modules()
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == module.__name__
    }
    return sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


def made(kind: type[Exception]) -> Exception:
    """Make an error, with a value for each parameter that needs one."""
    owner = next(parent for parent in kind.__mro__ if "__init__" in vars(parent))
    if owner.__module__.partition(".")[0] not in {"app", "tcsfeel"}:
        return kind("a message")
    hints = get_type_hints(vars(owner)["__init__"])
    needed = [one for one in inspect.signature(kind).parameters.values() if one.default is one.empty]
    return kind(*[VALUES.get(hints[one.name], ()) for one in needed])


def seen(error: BaseException) -> Any:
    return type(error), str(error), error.args, vars(error)


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_an_error_can_be_pickled_and_copied(kind: type[Exception]) -> None:
    error = made(kind)
    error.add_note("in the third try")
    for revived in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301  (our own)
        assert seen(revived) == seen(error)


def test_the_fields_of_a_refusal_survive() -> None:
    error = Conflict(409, "taken", type="urn:x:taken", errors=(FieldError("/id", "is taken"),), retry_after=3.0)
    revived = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
    assert (revived.status, revived.kind, revived.errors, revived.retry_after) == (409, "taken", error.errors, 3.0)
