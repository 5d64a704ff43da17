"""What causes an error of the database, and the short name by which metrics count it."""

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError, StatementError

from app.store.availability import DatabaseUnavailable, NoAnswer, NoFreeConnection, TooManyConnections

FULL, CONFLICT, FILE = "full", "conflict", "file"
REASONS: Final = (FULL, CONFLICT, FILE, NoFreeConnection.reason, NoAnswer.reason, DatabaseUnavailable.reason)
"""Each name that `reason_of` gives."""
REFUSALS: Final = tuple(kind.reason for kind in (NoFreeConnection, TooManyConnections, NoAnswer, DatabaseUnavailable))
"""The name of each reason why a transaction cannot begin."""

_KIND = 0xFF  # the part of an SQLite error code that says which kind it is
_OF_SQLITE = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_BUSY: NoFreeConnection.reason,
    sqlite3.SQLITE_IOERR: FILE,
    sqlite3.SQLITE_CORRUPT: FILE,
    sqlite3.SQLITE_NOTADB: FILE,
    sqlite3.SQLITE_CANTOPEN: FILE,
    sqlite3.SQLITE_READONLY: FILE,
}
_OF_POSTGRES = {"53100": FULL, "57014": NoAnswer.reason, "40": CONFLICT, "08": DatabaseUnavailable.reason}
_OF_POSTGRES |= {"57": DatabaseUnavailable.reason, "58": FILE}


def cause_of(error: BaseException) -> BaseException:
    """Return the driver's error, without the parts that SQLAlchemy adds."""
    return error.orig if isinstance(error, StatementError) and error.orig is not None else error


def state_of(error: BaseException) -> str:
    """Find the SQLSTATE of an error; empty if it has none."""
    return str(getattr(error, "sqlstate", None) or getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def reason_of(error: BaseException) -> str | None:
    """Name the trouble of the database that an error tells of; None for any other error, such as a broken constraint.

    ``full`` is a full disk, ``conflict`` a transaction that Postgres undid because of another one, ``file`` a file that
    cannot be read or written, ``busy`` a lock that was not free in time, ``no_answer`` a statement that took too long,
    ``unreachable`` a connection that was lost.
    """
    if isinstance(error, DatabaseUnavailable):
        return error.reason if error.reason in REASONS else DatabaseUnavailable.reason
    cause = cause_of(error)
    if isinstance(cause, sqlite3.Error):
        return _OF_SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & _KIND)
    if not isinstance(error, DBAPIError):
        return None
    if error.connection_invalidated:
        return DatabaseUnavailable.reason
    state = state_of(error)
    return _OF_POSTGRES.get(state) or _OF_POSTGRES.get(state[:2])
