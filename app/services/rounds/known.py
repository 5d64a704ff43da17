"""Remember what the owner of a training has stored, so that it does not read it again.

Only the owner of a training writes its open round, and each of its transactions proves that it is still the owner. So
what it has stored is what it would read. When it cannot know whether a transaction was committed, because the caller
was cancelled or the commit failed, it is in doubt about the training, its last version and the participations of the
round, and reads them.
"""

from collections import ChainMap, Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from app.domain.clients import Client
from app.domain.rounds import OUTSTANDING, Participation, Round
from app.domain.trainings import Training
from app.store.leases import Lease
from app.store.models import ModelVersion
from tcsfeel.wire.tasks import TaskKind


@dataclass(frozen=True, slots=True)
class Completed:
    """The completed rounds of a training: how many, and the goal's value and the end of the last one."""

    count: int = 0
    goal_value: float | None = None
    ended_at: float | None = None


@dataclass(slots=True)
class Known:
    """What one owner knows of its training, and of one round.

    Attributes:
        training: the training after the last transaction of its owner; None before the first one.
        version: the last model version that the owner has stored.
        sketches: what clients' updates in the training say of their labels; None if that is not known.
        closed: the number of the last round that the owner has ended.
        completed: the completed rounds up to that one.
        opened: the round that was begun in the transaction that ended that one.
        called_off: carried tasks that have ended without a result, by client, of which their agents were not told yet.
        may_have_carried: whether the training may have open carried tasks.
        number: the round that the following is about.
        clients: clients of the round, as they were when they were selected or asked.
        fresh: whether the owner has just stored the plan, so that no agent can know its tasks.
        since: the time of the database when the round was frozen, for files that are written after it.
        frozen: the round as it was frozen in the transaction that stored the end of its last participation.
    """

    training: Training | None = None
    version: ModelVersion | None = None
    sketches: dict[str, tuple[float, ...]] | None = None
    closed: int = 0
    completed: Completed | None = None
    opened: Round | None = None
    called_off: dict[str, str] = field(default_factory=dict)
    may_have_carried: bool = True
    number: int = 0
    clients: dict[str, Client] = field(default_factory=dict)
    fresh: bool = False
    since: float | None = None
    frozen: Round | None = None
    _ended: dict[tuple[TaskKind, str], Participation] = field(default_factory=dict)
    _in_doubt: bool = False
    _wanted: dict[TaskKind, tuple[int, int]] = field(default_factory=dict)
    _counts: Counter[tuple[TaskKind, bool]] = field(default_factory=Counter)

    def begin(self, number: int) -> None:
        """Know nothing of a round, which was read just now, and forget all others."""
        self.number = number
        self.clients, self.fresh, self.since, self.frozen = {}, False, None, None
        self._ended, self._in_doubt = {}, False
        self._wanted, self._counts = {}, Counter()

    def close(self, number: int, completed: Completed, opened: Round | None) -> None:
        """Remember that the owner has ended a round, and that it has begun the one after it."""
        self.closed, self.completed, self.opened = number, completed, opened

    def completed_before(self, number: int) -> Completed | None:
        """Return the completed rounds before a round. None if they are not known."""
        return self.completed if self.closed == number - 1 else None

    def planned(self, clients: Iterable[Client]) -> None:
        """Remember that the round was planned with these clients."""
        self.keep(clients)
        self.fresh = True

    def keep(self, clients: Iterable[Client]) -> None:
        """Remember clients of the round."""
        self.clients.update((client.id, client) for client in clients)

    def settled(self, number: int, parts: Iterable[Participation]) -> None:
        """Remember participations of a round that were stored as they ended."""
        if number != self.number:
            return
        for part in parts:
            self._ended[part.kind, part.client_id] = part
            self._counts[part.kind, False] += 1
            self._counts[part.kind, True] += part.status == "received"

    def enough(self, round_: Round, kind: TaskKind, waiting: Iterable[Participation]) -> bool:
        """Tell whether a round could go on if participations were stored that wait for it.

        That is so if no others are outstanding, or if there are as many results as the round wants. `round_` is as it
        was when its tasks of the `kind` began.
        """
        if self.number != round_.number:
            return True
        if kind not in self._wanted:
            parts = round_.participations if kind == "fit" else round_.evaluations
            outstanding = sum(part.status in OUTSTANDING for part in parts)
            received = sum(part.status == "received" for part in parts)
            goal = round_.goal if kind == "fit" and round_.goal is not None else len(parts)
            self._wanted[kind] = outstanding, goal - received
        outstanding, missing = self._wanted[kind]
        left = {part.client_id: part.status == "received" for part in waiting}
        ended, received = self._counts[kind, False], self._counts[kind, True]
        return ended + len(left) >= outstanding or received + sum(left.values()) >= missing

    def doubt(self, number: int) -> None:
        """Remember that participations of a round may have been stored, or not."""
        if number == self.number:
            self._in_doubt = True

    def complete(self, round_: Round, ending: Iterable[Participation] = ()) -> Round | None:
        """Return a round with all of its participations as they ended, or as they are `ending` now.

        None if some of them have not ended, or if that is not known.
        """
        if self._in_doubt or self.number != round_.number:
            return None
        ends = ChainMap({(part.kind, part.client_id): part for part in ending}, self._ended)
        waited_for = (part for part in round_.parts if part.status in OUTSTANDING)
        if any((part.kind, part.client_id) not in ends for part in waited_for):  # mostly one of the first is not
            return None
        fitted, evaluated = (
            tuple(ends[part.kind, part.client_id] if part.status in OUTSTANDING else part for part in parts)
            for parts in (round_.participations, round_.evaluations)
        )
        return replace(round_, participations=fitted, evaluations=evaluated)


class KnownTrainings:
    """What the owners of this process know, for as long as they keep their leases."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Lease, Known] = WeakKeyDictionary()

    def by(self, lease: Lease) -> Known:
        return self._of.setdefault(lease, Known())
