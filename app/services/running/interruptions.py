"""Handle problems of the server in the middle of a round: show them, and end them after a limited time.

A full disk, a database that restarts, or too few file descriptors interrupt a round, and its owner tries again. An
error that nothing foresaw may be a bug, so only a few tries follow it, and none follows where the database refuses a
value, as it would each time. Both are shown at the training, in the metrics and in `/readyz`; after a bounded time, or
number of tries, the round is given up with the reason.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from app.domain.patience import hopeless, kills_its_owners
from app.domain.rounds import Round
from app.metrics import Metrics
from app.services.rounds.opening import open_round
from app.services.rounds.owned import OwnedTransactions
from app.services.rounds.progress import ProgressRecord
from app.store.bucket import ObjectStoreUnavailable
from app.store.columns import refuses
from app.store.database import in_a_line, is_outage
from app.store.leases import Lease
from app.store.outages import finding_of
from tcsfeel.text import plain

FRESH_SECONDS = 30.0  # interrupted rounds are tried again after 2 s at the latest

GiveUp = Callable[[Lease, Round, str], Awaitable[Round]]


def is_passing(error: BaseException) -> bool:
    """Tell trouble of the machine or of the database, which may pass, from an error that nothing foresaw."""
    return isinstance(error, OSError) or is_outage(error)


class Interruptions:
    """Records the interruptions of the rounds that this process drives, and gives rounds up that cannot go on."""

    def __init__(self, owned: OwnedTransactions, progress: ProgressRecord, metrics: Metrics, give_up: GiveUp) -> None:
        self._owned = owned
        self._progress = progress
        self._metrics = metrics
        self._give_up = give_up
        self._since: dict[str, float] = {}
        self._last: tuple[float, BaseException] | None = None

    def finding(self) -> str:
        """Say what keeps rounds from reading or writing what they need: "ok" where nothing does.

        Strangers may read it, so it holds no path; the trainings and the log say more.
        """
        if self._last is None or not self._since or time.monotonic() - self._last[0] > FRESH_SECONDS:
            return "ok"
        seconds = time.monotonic() - min(self._since.values())
        return f"{len(self._since)} trainings have made no progress for {seconds:.0f} s: {_kind(self._last[1])}"

    async def meet(self, lease: Lease, error: Exception, *, in_a_row: int, lost: float) -> None:
        """Record one of several interruptions `in_a_row`. `lost` is in seconds, what the round has not got back yet.

        A first one that may pass is not worth telling.

        Raises:
            Fenced: the lease is lost.
            Exception: the interruption cannot be recorded, since the database fails too.
        """
        passing = is_passing(error)
        if passing and in_a_row == 1:
            return
        reason = plain(in_a_line(error))
        self._since.setdefault(lease.training_id, time.monotonic())
        if passing and not isinstance(error, ConnectionError | ObjectStoreUnavailable):  # these are not on this machine
            self._last = time.monotonic(), error
        self._metrics.show_progress(lease.training_id, "stalled")
        async with self._owned.begin(lease) as tx:
            training, round_ = await self._progress.interrupted(tx, lease.training_id, reason, foreseen=passing)
        if round_ is None:
            return
        why = (
            f"the round cannot be stored: {reason}"
            if refuses(error)
            else hopeless(training.config.round_policy, round_, reason, lost)
        )
        if why is not None:
            await self._give_up(lease, round_, why)

    async def taken_over(self, lease: Lease) -> None:
        """Record that a round's owner died or stood still, and give a round up that may be what kills its owners.

        A training whose round was taken over more than once within the same step is stalled until it moves on. A wait
        for clients does not kill its owner, and may outlast many servers. Raises `Fenced`.
        """
        async with self._owned.begin(lease) as tx:
            round_ = await open_round(tx, lease.training_id)
            if round_ is None or round_.waiting_since is not None:
                return
            round_ = replace(round_, takeovers=round_.takeovers + 1)
            await tx.rounds.put(round_)
            why = f"{round_.takeovers} servers in a row crashed or hung while the round was {round_.status}"
            if round_.takeovers > 1:
                await self._progress.interrupted(tx, lease.training_id, why, foreseen=True)
        if kills_its_owners(round_):
            await self._give_up(lease, round_, why)

    def over(self, training_id: str) -> None:
        """Note that a training is not interrupted any more, or that this process does not drive it any more."""
        self._since.pop(training_id, None)


def _kind(error: BaseException) -> str:
    if is_outage(error):
        return f"the database {finding_of(error)}"
    said = getattr(error, "strerror", None)
    return type(error).__name__ if said is None else f"{type(error).__name__}: {said}"
