"""Make rows of clients, and clients of rows."""

from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row

from app.domain.breaker import Breaker
from app.domain.clients import Client, Measured, Profile
from app.domain.failures import Failure, Failures
from app.domain.identity import Identity
from tcsfeel.selection.distributions import Packer, plain

_IDENTITY = TypeAdapter(Identity)
_FAILURES = TypeAdapter(Failures)
PROFILE = tuple(Profile.__slots__)
_DOCUMENTS = {"profile", "measured", "breaker", "failures", "identity"}
_PLAIN = tuple(name for name in Client.__slots__ if name not in _DOCUMENTS)


def row_of(client: Client) -> dict[str, Any]:
    return {
        **{name: getattr(client, name) for name in _PLAIN},
        **{name: getattr(client.profile, name) for name in PROFILE},
        "data_distribution": plain(client.profile.data_distribution),
        "tags": dict(client.profile.tags),
        "measured": asdict(client.measured),
        "breaker": asdict(client.breaker),
        "failures": None if client.failures == Failures() else asdict(client.failures),
        "identity": None if client.identity == Identity() else asdict(client.identity),
    }


def client_of(row: Row[Any], packer: Packer | None = None) -> Client:
    breaker = dict(row.breaker)
    breaker["outcomes"] = tuple(breaker["outcomes"])
    breaker["last_failures"] = tuple(Failure(**failure) for failure in breaker.get("last_failures", ()))
    profile = {name: getattr(row, name) for name in PROFILE}
    if packer is not None and (labels := profile["data_distribution"]) is not None:
        profile["data_distribution"] = packer.packed(labels)
    return Client(
        profile=Profile(**profile),
        measured=Measured(**row.measured),
        breaker=Breaker(**breaker),
        failures=Failures() if row.failures is None else _FAILURES.validate_python(row.failures),
        identity=Identity() if row.identity is None else _IDENTITY.validate_python(row.identity),
        **{name: getattr(row, name) for name in _PLAIN},
    )
