"""Make rows of clients, and clients of rows.

A round reads each of its clients several times, and most of what a row says is the same as the last time. So the
documents of a row are read as the texts that are stored, and a text that was met lately is not parsed again.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import lru_cache, wraps
from operator import attrgetter
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row, Text, cast

from app.domain.breaker import Breaker
from app.domain.clients import Client, Measured, Profile
from app.domain.failures import Failure, Failures
from app.domain.identity import Identity
from app.store.documents import Value, value_of
from app.store.shallow import reader
from app.store.tables import clients
from tcsfeel.selection.distributions import Packer, plain

_REMEMBERED = 1 << 14  # texts of each kind
_SHORT = 1024  # characters of a text to remember: with reasons and tags, longer ones could take gigabytes

_NO_FAILURES, _NO_IDENTITY = Failures(), Identity()
_IDENTITY = TypeAdapter(Identity)
_FAILURES = TypeAdapter(Failures)
_DOCUMENTS = ("measured", "breaker", "failures", "identity")
_PLAIN = tuple(name for name in Client.__slots__ if name not in {"profile", *_DOCUMENTS})
_SIMPLE = tuple(name for name in Profile.__slots__ if name not in {"data_distribution", "tags"})
_CLAIMED = {"id", "created_at", "public_key", "invitation_id", "enrolled_at"}
_CHANGING = [name for name in _PLAIN if name not in _CLAIMED]

CHANGING = (*_CHANGING, *_DOCUMENTS)
"""The columns that change in rounds: all but the key, the profile and the enrolment."""
COLUMNS = [
    cast(column, Text).label(column.name) if column.name in {"tags", *_DOCUMENTS} else column for column in clients.c
]
"""What a query selects whose rows are for `client_of`. Others may come with it."""

_plain = reader(_PLAIN)
_changing = reader(_CHANGING)
_profile = reader(_SIMPLE)
_measured = reader(Measured.__slots__)
_breaker = reader(Breaker.__slots__)


def row_of(client: Client) -> dict[str, Any]:
    return {
        **_plain(client),
        **_profile(client.profile),
        "data_distribution": plain(client.profile.data_distribution),
        "tags": dict(client.profile.tags),
        **_documents(client),
    }


def changing_row_of(client: Client) -> dict[str, Any]:
    """Return the columns of `CHANGING`."""
    return _changing(client) | _documents(client)


def _documents(client: Client) -> dict[str, Any]:
    breaker = _breaker(client.breaker)
    breaker["last_failures"] = [asdict(failure) for failure in client.breaker.last_failures]
    return {
        "measured": _measured(client.measured),
        "breaker": breaker,
        "failures": None if client.failures == _NO_FAILURES else asdict(client.failures),
        "identity": None if client.identity == _NO_IDENTITY else _written_identity(client.identity),
    }


@lru_cache(_REMEMBERED)
def _written_identity(identity: Identity) -> dict[str, Any]:
    return asdict(identity)


def client_of(row: Row[Any], packer: Packer | None = None) -> Client:
    """Make a client of a row of `COLUMNS`, of which the labels may be empty."""
    labels = row.data_distribution
    profile = _profile_of(row.tags, labels is None, *_simple_values(row))
    if labels:
        profile = replace(profile, data_distribution=labels if packer is None else packer.packed(labels))
    return Client(
        profile=profile,
        measured=_measured_of(row.measured),
        breaker=_breaker_of(row.breaker),
        failures=_NO_FAILURES if row.failures is None else _failures_of(row.failures),
        identity=_NO_IDENTITY if row.identity is None else _identity_of(row.identity),
        **dict(zip(_PLAIN, _plain_values(row), strict=True)),
    )


_plain_values = attrgetter(*_PLAIN)
_simple_values = attrgetter(*_SIMPLE)


def _remembering(read: Callable[..., Value]) -> Callable[..., Value]:
    """Let a function, whose first argument is a text, remember what it has returned for short ones."""
    remembering = lru_cache(_REMEMBERED)(read)

    @wraps(read)
    def found(text: str, *others: Any) -> Value:
        return (remembering if len(text) <= _SHORT else read)(text, *others)

    return found


@_remembering
def _profile_of(tags: str, says_nothing: bool, *values: Any) -> Profile:
    """Make a profile without labels, of a client that `says_nothing` of them, or whose labels were not read."""
    labels: list[float] | None = None if says_nothing else []
    return Profile(tags=json.loads(tags), data_distribution=labels, **dict(zip(_SIMPLE, values, strict=True)))


@_remembering
def _measured_of(text: str) -> Measured:
    return value_of(Measured, json.loads(text))


@_remembering
def _breaker_of(text: str) -> Breaker:
    breaker = json.loads(text)
    breaker["outcomes"] = tuple(breaker["outcomes"])
    breaker["last_failures"] = tuple(value_of(Failure, failure) for failure in breaker.get("last_failures", ()))
    return value_of(Breaker, breaker)


@_remembering
def _failures_of(text: str) -> Failures:
    return _FAILURES.validate_json(text)


@_remembering
def _identity_of(text: str) -> Identity:
    return _IDENTITY.validate_json(text)
