"""Errors survive the way through process pools, which pickle them, and through `copy`."""

import copy
import inspect
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import app.domain.errors
import tcsfeel.agent.errors
import tcsfeel.client
import tcsfeel.network.matrix
import tcsfeel.selection
from tcsfeel.client import Conflict, FieldError
from tcsfeel.errors import Picklable, TcsFeelError

VALUES: dict[str, Any] = {"str": "two words", "int": 7, "float": 1.5, "Sequence[str]": ("a", "b")}


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for found in kind.__subclasses__():
        yield found
        yield from subclasses(found)


def made(kind: type[Exception]) -> Exception:
    """Make an error, with a value for each parameter that needs one."""
    if "__init__" not in {name for parent in kind.__mro__[:-3] for name in vars(parent)}:
        return kind("a message")
    parameters = inspect.signature(kind).parameters.values()
    needed = [parameter for parameter in parameters if parameter.default is parameter.empty]
    by_type = [
        str(getattr(one.annotation, "__name__", one.annotation)) for one in needed if one.kind != one.VAR_POSITIONAL
    ]
    if by_type and "Sequence" in by_type:
        by_type = ["Sequence[str]" if name == "Sequence" else name for name in by_type]
    return kind(*[VALUES[name] for name in by_type])


def seen(error: BaseException) -> Any:
    return type(error), str(error), error.args, vars(error)


KINDS = sorted(
    {kind for kind in subclasses(Picklable) if kind.__module__.startswith(("tcsfeel", "app.domain"))}, key=str
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_an_error_can_be_pickled_and_copied(kind: type[Exception]) -> None:
    error = made(kind)
    error.add_note("in the third try")
    for revived in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301  (our own)
        assert seen(revived) == seen(error)


def test_the_errors_of_all_rooms_are_tested() -> None:
    assert {
        app.domain.errors.AlreadyExists,
        tcsfeel.agent.errors.CannotListen,
        tcsfeel.client.NotDone,
        tcsfeel.network.matrix.InvalidConnectivity,
        TcsFeelError,
    } <= set(KINDS)


def test_the_fields_of_a_refusal_survive() -> None:
    error = Conflict(409, "taken", type="urn:x:taken", errors=(FieldError("/id", "is taken"),), retry_after=3.0)
    revived = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
    assert (revived.status, revived.kind, revived.errors, revived.retry_after) == (409, "taken", error.errors, 3.0)
