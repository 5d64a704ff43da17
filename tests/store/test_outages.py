"""What a service does about a database that does not answer."""

import sqlite3

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from app.store.availability import DatabaseUnavailable, NoFreeConnection
from app.store.outages import Outage, finding_of


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


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        (DatabaseUnavailable("10.0.0.7 refused"), "does not answer"),
        (NoFreeConnection("busy"), "has no free connection: all of this server's are in use"),
        (OperationalError("UPDATE", {}, sqlite3.OperationalError("disk I/O error")), "cannot be used: disk I/O error"),
        (OperationalError("UPDATE", {}, OSError("10.0.0.7 reset it")), "does not answer"),
    ],
)
def test_a_finding_names_the_trouble_and_no_address(error: Exception, finding: str) -> None:
    assert finding_of(error) == finding


def test_an_outage_lasts_until_a_try_comes_through() -> None:
    outage = Outage()
    assert outage.seconds == 0
    outage.meet(DatabaseUnavailable("gone"))
    assert outage.seconds > 0
    assert str(outage.finding) == "does not answer"
    outage.end()
    assert outage.seconds == 0
    assert outage.finding is None


async def test_a_loop_goes_on_after_an_outage_and_after_any_other_error() -> None:
    outage, errors = Outage(), [DatabaseUnavailable("gone"), DatabaseUnavailable("still gone"), KeyError("a bug")]

    async def tick() -> None:
        if errors:
            raise errors.pop(0)

    with capture_logs() as logs:
        for _ in range(2):
            await outage.outlast(tick, "the tick failed")
        assert str(outage.finding) == "does not answer"
        await outage.outlast(tick, "the tick failed")
        assert str(outage.finding) == "does not answer", "an error of another kind ends no outage"
        await outage.outlast(tick, "the tick failed")
    assert outage.finding is None
    assert [line["event"] for line in logs] == [
        "the database does not answer",
        "the tick failed",
        "the database answers again",
    ]
