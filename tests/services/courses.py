"""How far rounds and trainings have come."""

from collections.abc import Sequence

from app.domain.rounds import Participation, Round
from app.store.events import RecordedEvent
from tests.planes import Adder, Plane


def parts(round_: Round) -> dict[str, Participation]:
    return {part.client_id: part for part in round_.participations}


def statuses(round_: Round) -> dict[str, str]:
    return {part.client_id: part.status for part in round_.participations}


async def has_started(trainer: Adder) -> bool:
    return bool(trainer.fitted)


async def has_status(running: Plane, training_id: str, status: str) -> bool:
    return (await running.system.trainings.get(training_id)).status == status


async def has_received(running: Plane, training_id: str, count: int, number: int = 1) -> bool:
    """Whether so many updates of a round have come in."""
    first = await running.system.trainings.rounds(
        training_id, limit=1, before=number + 1
    )  # none where it has not begun
    return sum(part.status == "received" for value in first.items for part in value.participations) == count


async def has_no_spools(running: Plane) -> bool:
    """Whether nothing of any round is left. A spool is emptied a moment after its round has ended."""
    return running.system.housekeeper._files.spooled() == []


async def is_idle(running: Plane) -> bool:
    """Whether the control plane drives nothing at the moment."""
    return not running.system.coordinator._driving


async def has_progress(running: Plane, training_id: str, state: str) -> bool:
    progress = (await running.system.trainings.get(training_id)).progress
    return progress is not None and progress.state == state


async def is_driven_to_its_end(running: Plane, training_id: str) -> bool:
    """Let the coordinator look for work; whether the training is completed."""
    await running.drive()
    return await has_status(running, training_id, "completed")


async def events(running: Plane, training_id: str) -> Sequence[RecordedEvent]:
    """What was told of a training, in order."""
    async with running.system.db.read() as tx:
        return (await tx.events.after(0, training_id=training_id, limit=100)).items
