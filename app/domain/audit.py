"""What the audit trail records of a call, and how many records a flood of calls makes.

Each change that succeeds has a record of its own. Everything else that is recorded, such as refusals and downloads, can
be repeated without end by callers that may change nothing. So the first of identical calls has a record, and those that
follow within a minute are counted and have one record together. If there are too many kinds of refused or failed calls,
further kinds are merged: first those of one address, so that a caller that sends many kinds does not hide the others.
Downloads are never merged: the trail has to show who has which model.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

SERVER_ROLE = "server"
SEVERAL = "several"
"""In place of what differs in calls that are counted together, because their caller sends too many kinds of calls."""

Result = Literal["done", "refused", "failed"]
STATUSES: Mapping[Result, tuple[int, int]] = {"done": (0, 399), "refused": (400, 499), "failed": (500, 999)}
"""The statuses that belong to each result."""

MINUTE = 60.0
KINDS_OF_ACTOR = 32  # different calls of one actor that are counted apart at the same time
MERGED_OF_ACTOR = 64  # further kinds of an actor, which differ only in their addresses and statuses
KINDS = 512  # the same of all actors; refused and failed calls, and downloads, have so many each


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call, or `count` identical ones.

    `operation` is the method and the template of the path, such as ``DELETE /v1/clients/{client_id}``, and `parameters`
    are the values in the path. `status` is that of the answer; 0 if none was sent. For what the server does by itself,
    the operation is a word, and the status is 0.
    """

    actor: str
    role: str | None = None
    key_id: str | None = None
    address: str = ""
    operation: str
    parameters: tuple[tuple[str, str], ...] = ()
    status: int = 0
    request_id: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord(Call):
    """A call in the trail. `at` is in unix seconds; `previous` and `hash` chain the records (`tcsfeel.audit`)."""

    sequence: int
    at: float
    previous: str
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The number, the time and the hash of a record, which stand for the whole trail up to it."""

    sequence: int
    hash: str
    at: float | None = None


def hashed_fields(record: AuditRecord) -> dict[str, Any]:
    """Return the fields of a record as they are hashed, and as the REST API shows them."""
    return {
        "sequence": record.sequence,
        "at": datetime.fromtimestamp(record.at, UTC).isoformat().replace("+00:00", "Z"),
        "actor": record.actor,
        "role": record.role,
        "key_id": record.key_id,
        "address": record.address,
        "operation": record.operation,
        "parameters": dict(record.parameters),
        "status": record.status,
        "request_id": record.request_id,
        "count": record.count,
        "previous": record.previous,
    }


@dataclass(slots=True)
class _Repeats:
    """How often a call was repeated since it was recorded, and the address of all these calls, or `SEVERAL`."""

    since: float
    address: str
    count: int = 0


class Tally:
    """Counts identical calls. Times are in seconds, by any clock.

    With too many kinds of calls, further ones are merged with each other if it `merges`. Otherwise they are not
    counted, and each of them has a record of its own.
    """

    def __init__(
        self,
        *,
        kinds_of_actor: int = KINDS_OF_ACTOR,
        merged_of_actor: int = MERGED_OF_ACTOR,
        kinds: int = KINDS,
        merges: bool = True,
    ) -> None:
        self._kinds_of_actor = kinds_of_actor
        self._merged_of_actor = merged_of_actor
        self._kinds = kinds
        self._merges = merges
        self._counted: dict[Call, _Repeats] = {}
        self._of_actors: Counter[tuple[str, str | None]] = Counter()  # by name and key, since keys may share a name

    def __len__(self) -> int:
        return len(self._counted)

    def note(self, call: Call, now: float, *, later: bool = False) -> Call | None:
        """Count a call. Return it if it is recorded at once: not `later`, and the first of its kind; or not counted."""
        kind = self._kind(call)
        if kind is None:
            return call
        address = call.address if kind.actor == call.actor else SEVERAL
        repeats = self._counted.get(kind)
        if repeats is not None:
            repeats.count += 1
            repeats.address = address if repeats.address == address else SEVERAL
            return None
        self._counted[kind] = _Repeats(now, address, int(later))
        self._of_actors[kind.actor, kind.key_id] += 1
        return None if later else replace(kind, address=address, request_id=call.request_id)

    def due(self, now: float, *, everything: bool = False) -> list[Call]:
        """Take out the kinds that were counted for a minute, or `everything`. Return those that were repeated."""
        over = [
            kind for kind, repeats in self._counted.items() if everything or not 0.0 <= now - repeats.since < MINUTE
        ]
        repeated = []
        for kind in over:
            repeats = self._counted.pop(kind)
            self._of_actors[kind.actor, kind.key_id] -= 1
            if repeats.count:
                repeated.append(replace(kind, address=repeats.address, count=repeats.count))
        self._of_actors = +self._of_actors
        return repeated

    def _kind(self, call: Call) -> Call | None:
        """Return what identical calls have in common. With too many kinds, it is less than the whole call, or None."""
        kind = replace(call, request_id=None)
        if kind in self._counted or self._has_place(call, self._kinds_of_actor):
            return kind
        if not self._merges:
            return None
        of_address = replace(kind, operation=SEVERAL, parameters=())
        if of_address in self._counted or self._has_place(call, self._kinds_of_actor + self._merged_of_actor):
            return of_address
        merged = replace(of_address, address=SEVERAL)
        if merged not in self._counted and self._is_full:
            return replace(merged, actor=SEVERAL, role=None, key_id=None)
        return merged

    @property
    def _is_full(self) -> bool:
        return len(self._counted) >= self._kinds

    def _has_place(self, call: Call, most: int) -> bool:
        """Tell whether the actor of a call has fewer than `most` kinds, and all actors have not too many."""
        return not self._is_full and self._of_actors[call.actor, call.key_id] < most
