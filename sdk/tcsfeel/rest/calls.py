"""Calls with plain JSON bodies, for callers that do not use the models: agents, the command line, the demo."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tcsfeel.rest.cursors import Cursors
from tcsfeel.rest.exchange import Answer, Request, Steps
from tcsfeel.rest.problems import UnexpectedAnswer
from tcsfeel.rest.transport import json_body

REPEATABLE = frozenset({"GET", "PUT", "PATCH", "DELETE"})
PAGE = 1000  # items that one request of a list asks for
HOLD_SECONDS = 20  # that one request waits for something to happen: many proxies cut what is silent for 30 s


def call_json(
    method: str,
    path: str,
    body: object = None,
    *,
    params: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    wait_seconds: float = 0.0,
) -> Steps[Any]:
    """Send a body, if there is one, and return the JSON of the answer, or `None` if the answer has no body.

    A POST is repeated only if `headers` have an `Idempotency-Key`. The server may take `wait_seconds` longer to answer.
    """
    answer: Answer = yield replace(_request(method, path, body, params, headers or {}), wait_seconds=wait_seconds)
    if not answer.body:
        return None
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise UnexpectedAnswer(f"the answer {answer.status} of {method} {path} is not JSON") from None


def told(method: str, path: str, body: object, *, headers: Mapping[str, str] | None = None) -> Steps[None]:
    """Send a body, and check only the status of the answer."""
    yield _request(method, path, body, (), headers or {})


def bearer(key: str | None) -> dict[str, str]:
    """Make the header of a request that has another key than its client; None leaves the client's key."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def all_items(path: str) -> Steps[list[Any]]:
    """Read every item of a list, page by page."""
    items: list[Any] = []
    cursors = Cursors()
    cursor: str | None = None
    while True:
        found, cursor = yield from one_page(path, (), cursor, cursors)
        items += found
        if cursor is None:
            return items


def one_page(
    path: str, filters: Sequence[tuple[str, str]], cursor: str | None, cursors: Cursors
) -> Steps[tuple[list[Any], str | None]]:
    """Read the items of one page of a list, and the cursor of the next one, which is checked."""
    params = [*filters, ("limit", str(PAGE)), *([] if cursor is None else [("cursor", cursor)])]
    page = yield from call_json("GET", path, params=params)
    found, following = (page.get("items"), page.get("next_cursor", 0)) if isinstance(page, dict) else (None, None)
    if not isinstance(found, list) or not isinstance(following, str | None):
        raise UnexpectedAnswer(f"the answer of GET {path} is not a page of a list")
    if following is not None:
        cursors.check(following, len(found))
    return found, following


def _request(
    method: str, path: str, body: object, params: Sequence[tuple[str, str]], headers: Mapping[str, str]
) -> Request:
    repeatable = method in REPEATABLE or "Idempotency-Key" in headers
    if body is None:
        return Request(method, path, params=params, headers=headers, repeatable=repeatable)
    pieces, described = json_body(json.dumps(body).encode())
    return Request(method, path, params=params, headers={**headers, **described}, body=pieces, repeatable=repeatable)
