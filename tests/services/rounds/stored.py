"""Rounds in a database, without a control plane that drives them."""

from collections.abc import Mapping
from typing import Any

from app.domain.clients import Client
from app.domain.rounds import Participation, ParticipationStatus, Round
from app.domain.trainings import TrainingStatus
from app.store.database import Database
from app.store.events import RecordedEvent
from tests.store.samples import a_round, client, training


async def begun(
    db: Database,
    statuses: Mapping[str, ParticipationStatus],
    *,
    training_status: TrainingStatus = "running",
    clients: Mapping[str, Mapping[str, Any]] | None = None,
    **fields: Any,
) -> Round:
    """Store a training with one round, and its clients with their participations. `clients` has fields of clients."""
    parts = tuple(Participation(client_id=client_id, status=status) for client_id, status in statuses.items())
    round_ = a_round(participations=parts, **fields)
    async with db.begin() as tx:
        await tx.clients.add([client(client_id, **(clients or {}).get(client_id, {})) for client_id in statuses])
        await tx.trainings.add(training(status=training_status, current_round=round_.number))
        await tx.rounds.add(round_)
        await tx.rounds.add_participations(round_)
        await tx.rounds.add_evaluations(round_)
    return round_


async def client_of(db: Database, client_id: str) -> Client:
    async with db.read() as tx:
        return await tx.clients.get(client_id)


async def told(db: Database) -> list[RecordedEvent]:
    """Every event, in order."""
    async with db.read() as tx:
        return (await tx.events.after(0, limit=100)).items
