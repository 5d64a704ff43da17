"""Show the methods of the clients as they are called, in `help`, notebooks and editors."""

import inspect
from collections.abc import Callable
from typing import Any, get_args


def show_as_method(method: Callable[..., Any], operation: Callable[..., Any]) -> None:
    """Give a method the signature of its operation, with the client as first parameter and the operation's result.

    An operation is a generator of requests. Its result is the third part of its annotation `Steps[Result]`.
    """
    signature = inspect.signature(operation)
    result = get_args(signature.return_annotation)[2]
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    shown = signature.replace(parameters=[client, *signature.parameters.values()], return_annotation=result)
    vars(method)["__signature__"] = shown  # `inspect` reads it
    method.__annotations__ = {**operation.__annotations__, "return": result}
