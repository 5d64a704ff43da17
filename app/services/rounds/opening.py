"""The open round of a training and the begin of its next one, for a caller that holds the training's row."""

from dataclasses import replace

from app.domain.events.rounds import RoundStarted
from app.domain.rounds import ENDED, Round, believed, next_round
from app.domain.trainings import Training
from app.store.transaction import Transaction


async def open_round(tx: Transaction, training_id: str) -> Round | None:
    """The round that has not ended, without its participations: there may be thousands. None where there is none."""
    last = await tx.rounds.newest(training_id)
    return last if last is not None and last.status not in ENDED else None


async def begin_round(tx: Transaction, training: Training, now: float) -> tuple[Training, Round]:
    """The training with one round more, which the caller is to store, and that round, which is stored."""
    training, round_ = next_round(training, now)
    await tx.rounds.add(round_)
    await tx.events.append(RoundStarted(training_id=training.id, round=round_.number))
    return training, round_


async def prolong(tx: Transaction, round_: Round, seconds: float, *, ours: bool = False) -> Round:
    """Give a round the time back that it stood still; `ours` is time that it may only have a bounded sum of.

    A pause does not count as a wait. A problem on the server while the round waits is part of that wait.
    """
    if seconds <= 0 or (ours and round_.waiting_since is not None):
        return round_
    round_ = replace(
        round_,
        deadline_at=round_.deadline_at + seconds,
        waiting_since=None if round_.waiting_since is None else round_.waiting_since + seconds,
        waited_seconds=round_.waited_seconds + (seconds if ours else 0.0),
    )
    await tx.rounds.put(round_)
    return round_


async def correct(tx: Transaction, round_: Round, longest: float, now: float) -> Round:
    """Give a round that was begun before the clock was set back the end that it can have."""
    corrected = believed(round_, longest, now)
    if corrected != round_:
        await tx.rounds.put(corrected)
    return corrected
