"""What the audit trail records of a call, and how many records a flood of calls makes.

Each change that succeeds has a record of its own. Everything else that is recorded, such as refusals, can be repeated
without end by callers without any right. So the first of identical calls has a record, and those that follow within a
minute are counted and have one record together.
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
KINDS = 512  # the same of all actors


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
    """How often a call was repeated since it was recorded."""

    since: float
    count: int = 0


class Tally:
    """Counts identical calls. Times are in seconds, by any clock."""

    def __init__(self, *, kinds_of_actor: int = KINDS_OF_ACTOR, kinds: int = KINDS) -> None:
        self._kinds_of_actor = kinds_of_actor
        self._kinds = kinds
        self._counted: dict[Call, _Repeats] = {}
        self._of_actors: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._counted)

    def note(self, call: Call, now: float, *, later: bool = False) -> Call | None:
        """Count a call. Return it if it is the first of its kind and is recorded at once, not `later`."""
        kind = self._kind(call)
        repeats = self._counted.get(kind)
        if repeats is not None:
            repeats.count += 1
            return None
        self._counted[kind] = _Repeats(now, int(later))
        self._of_actors[kind.actor] += 1
        return None if later else replace(kind, request_id=call.request_id)

    def due(self, now: float, *, everything: bool = False) -> list[Call]:
        """Take out the kinds that were counted for a minute, or `everything`. Return those that were repeated."""
        over = [
            kind for kind, repeats in self._counted.items() if everything or not 0.0 <= now - repeats.since < MINUTE
        ]
        repeated = []
        for kind in over:
            count = self._counted.pop(kind).count
            self._of_actors[kind.actor] -= 1
            if count:
                repeated.append(replace(kind, count=count))
        self._of_actors = +self._of_actors
        return repeated

    def _kind(self, call: Call) -> Call:
        """Return what identical calls have in common; with too many kinds, only the actor and the status."""
        kind = replace(call, request_id=None)
        if kind in self._counted:
            return kind
        of_actor = Call(actor=call.actor, role=call.role, address=SEVERAL, operation=SEVERAL, status=call.status)
        if len(self._counted) >= self._kinds:
            return replace(of_actor, actor=SEVERAL, role=None)
        return kind if self._of_actors[call.actor] < self._kinds_of_actor else of_actor
