"""The services of one process, as the composition root has wired them."""

import asyncio
from dataclasses import dataclass

from app.answers import AnswerPlaces
from app.bodies import AnswerRoom, Room
from app.metrics import Metrics
from app.services.agents import AgentCaller
from app.services.breakers import Breakers
from app.services.census import Census
from app.services.clients import Clients
from app.services.connectivity import ConnectivityMatrix
from app.services.coordinator import Coordinator
from app.services.events.log import EventLog
from app.services.health import HealthProber
from app.services.housekeeping import Housekeeper
from app.services.inquiries import Inquiry
from app.services.interruptions import Interruptions
from app.services.keys import AdminKey
from app.services.models import Models
from app.services.rounds.participants import Participants
from app.services.selections import Selections
from app.services.timekeeping import Timekeeper
from app.services.trainings import Trainings
from app.services.waits import RoundWaits
from app.settings import Settings
from app.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The control plane without HTTP. `name` tells this process from others on the same database."""

    name: str
    settings: Settings
    admin_key: AdminKey
    metrics: Metrics
    room: Room
    uploads: Room
    answers: AnswerRoom
    answer_places: AnswerPlaces
    db: Database
    coordinator_db: Database
    migrated: Inquiry[bool]
    clients: Clients
    census: Census
    breakers: Breakers
    connectivity: ConnectivityMatrix
    selections: Selections
    trainings: Trainings
    waits: RoundWaits
    models: Models
    caller: AgentCaller
    participants: Participants
    coordinator: Coordinator
    interruptions: Interruptions
    prober: HealthProber
    timekeeper: Timekeeper
    housekeeper: Housekeeper
    events: EventLog

    async def disconnect(self) -> None:
        """Close every connection to the database."""
        await asyncio.gather(*(db.dispose() for db in {self.db, self.coordinator_db}))
