"""The open round of a training and the begin of its next one, for a caller that holds the training's row."""

from app.domain.events.rounds import RoundStarted
from app.domain.patience import believed, prolonged
from app.domain.rounds import ENDED, Round, next_round
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
    """Give a round the time back that it stood still; see `prolonged`."""
    longer = prolonged(round_, seconds, ours=ours)
    if longer != round_:
        await tx.rounds.put(longer)
    return longer


async def correct(tx: Transaction, round_: Round, longest: float, now: float) -> Round:
    """Give a round that was begun before the clock was set back the end that it can have."""
    corrected = believed(round_, longest, now)
    if corrected != round_:
        await tx.rounds.put(corrected)
    return corrected
