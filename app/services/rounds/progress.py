"""Store the progress of a training, in the transactions of its owner."""

from dataclasses import replace

from app.clock import Clock
from app.domain.rounds import Round
from app.domain.trainings import Training, with_progress
from app.metrics import Metrics
from app.services.rounds.ending import note_changes
from app.services.rounds.opening import open_round
from app.store.transaction import Transaction


class ProgressRecord:
    """Writes the progress of trainings when it changes, with the events and the metrics that report it."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._stalled: set[str] = set()

    async def keep(self, tx: Transaction, before: Training, after: Training) -> None:
        """Store a training if it has changed, and report its status and its progress."""
        await self.report(tx, before, after)
        if after != before:
            await tx.trainings.put(after)

    async def report(self, tx: Transaction, before: Training, after: Training) -> None:
        """Report a change of a training that the caller stores."""
        state = None if after.progress is None else after.progress.state
        (self._stalled.add if state == "stalled" else self._stalled.discard)(after.id)
        self._metrics.show_progress(after.id, state)
        if after != before:
            await note_changes(tx, before, after)

    def moving(self, training: Training) -> Training:
        """Return a running training as it is after a step forward."""
        return with_progress(training, "moving", None, self._clock.now())

    async def moved(self, tx: Transaction, training_id: str) -> None:
        """Store that a training has made a step forward."""
        training = await tx.trainings.get(training_id)
        await self.keep(tx, training, self.moving(training))

    async def moved_after_stall(self, tx: Transaction, training_id: str) -> None:
        """Store that a training moves again, if this process knows that it was stalled. Otherwise do nothing."""
        if training_id in self._stalled:
            await self.moved(tx, training_id)

    async def waiting(self, tx: Transaction, round_: Round, reason: str) -> Round:
        """Store that a round waits for clients, and why. Nothing is written if this is stored already."""
        now = self._clock.now()
        training = await tx.trainings.get(round_.training_id)
        await self.keep(tx, training, with_progress(training, "waiting", reason, now))
        if round_.waiting_since is None:
            round_ = replace(round_, waiting_since=now)
            await tx.rounds.put(round_)
        return round_

    async def interrupted(
        self, tx: Transaction, training_id: str, reason: str, *, foreseen: bool
    ) -> tuple[Training, Round | None]:
        """Store that a problem of the server stalls a training. Returns the training and its open round.

        An error that was not `foreseen` counts as a failure of the round's step.
        """
        before = await tx.trainings.get(training_id)
        training = with_progress(before, "stalled", reason, self._clock.now())
        await self.keep(tx, before, training)
        round_ = await open_round(tx, training.id)
        if round_ is not None and not foreseen:
            round_ = replace(round_, step_failures=round_.step_failures + 1)
            await tx.rounds.put(round_)
        return training, round_
