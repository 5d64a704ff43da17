"""Write and read the contract's models as bodies of requests and answers.

A request is checked before it is sent, with the same models that the server uses. A mistake raises the same error:
`Invalid`, with a pointer to each wrong field.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from tcsfeel.contract.fields import RequestModel
from tcsfeel.contract.sentences import pointer, sentence, summary
from tcsfeel.rest.exchange import Answer, Request, Steps, Work
from tcsfeel.rest.problems import FieldError, Invalid, UnexpectedAnswer
from tcsfeel.rest.transport import json_body
from tcsfeel.text import plain

Model = TypeVar("Model", bound=BaseModel)
Sent = TypeVar("Sent", bound=RequestModel)

LARGE = 1_000_000  # bytes of an answer that is parsed off the event loop


def call(model: type[Model], request: Request) -> Steps[Model]:
    """Send a request, and read the answer as a model."""
    answer = yield request
    return (yield from read(model, answer))


def read(model: type[Model], answer: Answer) -> Steps[Model]:
    """Read an answer as a model. Raises `UnexpectedAnswer`."""
    if len(answer.body) < LARGE:
        return _parsed(model, answer)
    found: Model = yield Work(lambda: _parsed(model, answer))
    return found


def _parsed(model: type[Model], answer: Answer) -> Model:
    try:
        return model.model_validate_json(answer.body)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        place = pointer(wrong) or "its body"
        media_type = plain(answer.headers.get("Content-Type", "no Content-Type"), 100)
        raise UnexpectedAnswer(
            f"the answer {answer.status} is not a {model.__name__}: {plain(place)} {plain(sentence(wrong))}"
            f" ({media_type}, {len(answer.body)} bytes)"
        ) from None


def with_body(request: Request, model: type[Sent], given: Sent | None, fields: Mapping[str, Any]) -> Steps[Request]:
    """Add a body to a request: the given model, or one that is made from the fields. Raises `Invalid`."""
    if given is not None and fields:
        raise TypeError(f"give either a {model.__name__} or its fields, not both")
    if given is not None and not isinstance(given, model):
        raise TypeError(f"pass a {model.__name__}, or its fields by keyword, not a {type(given).__name__}")
    data: bytes = yield Work(lambda: _encoded(_checked(model, fields) if given is None else given))
    body, headers = json_body(data)
    return Request(
        request.method,
        request.path,
        headers={**request.headers, **headers},
        body=body,
        repeatable=request.repeatable,
        wait_seconds=request.wait_seconds,
    )


def _checked(model: type[Sent], fields: Mapping[str, Any]) -> Sent:
    """Check fields as the server does.

    They are turned into JSON first: a strict model accepts no dictionaries as parts.
    """
    try:
        return model.model_validate_json(json.dumps(fields, default=_plain))
    except ValidationError as error:
        raise _invalid([_field(wrong) for wrong in error.errors(include_url=False, include_input=False)]) from None


def _invalid(errors: list[FieldError]) -> Invalid:
    shown = summary([(error.pointer, error.detail) for error in errors])
    kind, title = "urn:tcsfeel:problem:invalid", "The request is not valid"
    return Invalid(422, plain(shown, 2000), type=kind, title=title, errors=tuple(errors))


def _field(wrong: Any) -> FieldError:
    return FieldError(plain(pointer(wrong)), plain(sentence(wrong)))


def _encoded(model: BaseModel) -> bytes:
    return json.dumps(model.model_dump(exclude_unset=True), default=_plain, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    """Convert values that JSON does not know to ones that it knows: models, secrets, arrays and their numbers."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if hasattr(value, "tolist"):  # arrays, and numpy's numbers
        return value.tolist()
    if isinstance(value, tuple | set | frozenset | Iterator):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


def part_of(limit: int, cursor: str | None) -> list[tuple[str, str]]:
    """Return the query of one page."""
    return [("limit", str(limit)), *([("cursor", cursor)] if cursor is not None else [])]
