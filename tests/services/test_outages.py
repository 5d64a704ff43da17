"""What a service does about a database that does not answer."""

import pytest
from structlog.testing import capture_logs

from app.services.outages import Outage
from app.store.availability import DatabaseUnavailable


def attempt(error: Exception) -> None:
    raise error


def test_an_outage_ends_what_may_be_left_undone_and_is_told() -> None:
    with capture_logs() as logs:
        with Outage().tolerated():
            attempt(DatabaseUnavailable("connection refused"))
        logs.append({"event": "after it"})
    assert [entry["event"] for entry in logs] == ["the database does not answer", "after it"]


def test_what_is_no_outage_passes_through() -> None:
    with capture_logs() as logs, pytest.raises(OSError, match="no space left"), Outage().tolerated():
        attempt(OSError("no space left"))
    assert logs == []
