"""The API against its own document: requests that follow it and requests that break it, the same ones every time.

Checked for each answer: it is documented, it has the documented form, it is no fault of the server, wrong requests are
refused, and nothing is answered without a key. There are callers of each role. ``make fuzz`` is a longer run against a
real server.
"""

from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import sampled_from
from schemathesis.core.result import Ok
from schemathesis.python import asgi

from app.main import create_app
from tests import planes, raw_bodies  # noqa: F401  (the latter tells schemathesis how to send models)
from tests.api import AUTHORIZED, KEY
from tests.clocks import FakeClock, Sleeping
from tests.depth import tries

EXAMPLES = 6  # of each operation, in each mode
STREAM_SECONDS = 4.0  # after which a stream that does not end has shown enough, on a busy machine as well
ROLES = ("admin", "admin", "operator", "viewer", "agent")  # of the callers; an admin's calls reach the most code
# A cell of a matrix against another one, an id against the path's: more rules than a schema can hold.
STRICTER = schemathesis.checks.positive_data_acceptance
# It does not know 413, with which a wrong body is refused before it is read if it is too large as well.
REFUSED = schemathesis.checks.negative_data_rejection


@pytest.fixture
def schema(tmp_path: Path, sqlite_url: str) -> Iterator[schemathesis.BaseSchema]:
    clock = FakeClock(sleeping=Sleeping.SKIPS, least_sleep=900)  # a wait, however long, is over at once
    configured = planes.settings(tmp_path / "data", sqlite_url, auth={"admin_key": KEY})
    yield schemathesis.openapi.from_asgi("/openapi.json", create_app(configured, clock=clock))
    asgi.shutdown_lifespans()


def key_of(schema: schemathesis.BaseSchema, role: str) -> str:
    """A key with a role, made over the API; that of an agent is of the client in the examples."""
    body: Any = {"name": "fuzz", "role": role} | ({"client_id": "edge-7"} if role == "agent" else {})
    made = schema["/v1/keys"]["POST"].Case(body=body, media_type="application/json").call(headers=AUTHORIZED)
    key: str = made.json()["key"]
    return key


def longest(case: schemathesis.Case[Any]) -> float | None:
    """The seconds after which a call is cut off; None if it ends by itself."""
    return STREAM_SECONDS if case.operation.path.endswith("/stream") else None


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_answers_are_as_documented(schema: schemathesis.BaseSchema, mode: schemathesis.GenerationMode) -> None:
    keys = {role: key_of(schema, role) for role in ROLES}
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @tries(EXAMPLES, repeatable=True)
        @given(case=operation.as_strategy(generation_mode=mode), role=sampled_from(ROLES))
        def check(case: schemathesis.Case[Any], role: str) -> None:
            caller = {"Authorization": f"Bearer {keys[role]}"}
            answer = case.call(headers=caller, timeout=longest(case))
            too_large = answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            case.validate_response(answer, excluded_checks=[STRICTER, *([REFUSED] if too_large else [])])

        with suppress(Unsatisfiable):  # where nothing is given, nothing can be wrong
            check()
