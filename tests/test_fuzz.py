r"""The API against its own document: requests that follow it and requests that break it, the same ones every time.

Checked for each answer: it is documented, it has the documented form, it is no fault of the server, wrong requests are
refused, and nothing is answered without the key. A longer run against a server that is up:

    schemathesis run $SERVER/openapi.json -H "Authorization: Bearer $KEY" -n 200 --continue-on-failure \
        --checks all --exclude-checks positive_data_acceptance --exclude-path /v1/clients/batch --request-timeout 90
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok
from schemathesis.python import asgi

from app.main import create_app
from tcsfeel.wire.codec import MEDIA_TYPE
from tests import planes
from tests.api import AUTHORIZED, KEY
from tests.clocks import FakeClock, Sleeping
from tests.depth import tries

EXAMPLES = 6  # of each operation, in each mode
# A cell of a matrix against another one, an id against the path's: more rules than a schema can hold.
STRICTER = schemathesis.checks.positive_data_acceptance


@pytest.fixture
def schema(tmp_path: Path, sqlite_url: str) -> Iterator[schemathesis.BaseSchema]:
    clock = FakeClock(sleeping=Sleeping.SKIPS, least_sleep=900)  # a wait, however long, is over at once
    configured = planes.settings(tmp_path / "data", sqlite_url, auth={"admin_key": KEY})
    yield schemathesis.openapi.from_asgi("/openapi.json", create_app(configured, clock=clock))
    asgi.shutdown_lifespans()


@schemathesis.serializer(MEDIA_TYPE)
def raw(_context: schemathesis.SerializationContext, value: object) -> bytes:
    """A body of bytes as it is."""
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_answers_are_as_documented(schema: schemathesis.BaseSchema, mode: schemathesis.GenerationMode) -> None:
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @tries(EXAMPLES, repeatable=True)
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers=AUTHORIZED, excluded_checks=[STRICTER])

        with suppress(Unsatisfiable):  # where nothing is given, nothing can be wrong
            check()
