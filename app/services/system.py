"""The services of one process, as the composition root has wired them."""

import asyncio
from dataclasses import dataclass

from app.memory import AnswerMemory, AnswerPlaces, BodyMemory
from app.metrics import Metrics
from app.services.access.api_keys import ApiKeys
from app.services.access.audit import AuditTrail
from app.services.access.callers import Callers
from app.services.access.enrolments import Enrolments
from app.services.access.invitations import Invitations
from app.services.access.keys import AdminKey
from app.services.access.limits import CallerLimits
from app.services.access.secrets import ServerSecret
from app.services.access.sessions import Sessions
from app.services.events.feed import EventFeed
from app.services.fleet.census import Census
from app.services.fleet.clients import Clients
from app.services.fleet.connectivity import ConnectivityMatrix
from app.services.fleet.health import HealthProber
from app.services.fleet.inquiries import Inquiry
from app.services.fleet.outcomes import Outcomes
from app.services.rounds.participants import Participants
from app.services.rounds.selections import Selections
from app.services.rounds.waits import RoundWaits
from app.services.running.coordinator import Coordinator
from app.services.running.housekeeping import Housekeeper
from app.services.running.interruptions import Interruptions
from app.services.running.key_watch import KeyWatch
from app.services.running.survey import Survey
from app.services.running.timekeeping import Timekeeper
from app.services.tasks.address_guard import AddressGuard
from app.services.tasks.agents import AgentCaller
from app.services.tasks.appends import Appends
from app.services.tasks.breakers import Breakers
from app.services.tasks.deliveries import Deliveries
from app.services.tasks.pulls import Pulls
from app.services.tasks.watching import TaskWatch
from app.services.trainings.models import Models
from app.services.trainings.trainings import Trainings
from app.services.webhooks.deliveries import WebhookDeliveries
from app.services.webhooks.webhooks import Webhooks
from app.settings import Settings
from app.store.database import Database
from app.traces import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The control plane without HTTP. `name` tells this process from others on the same database."""

    name: str
    settings: Settings
    admin_key: AdminKey
    secret: ServerSecret
    sessions: Sessions
    limits: CallerLimits
    callers: Callers
    keys: ApiKeys
    invitations: Invitations
    enrolments: Enrolments
    key_watch: KeyWatch
    audit: AuditTrail
    metrics: Metrics
    traces: Traces
    body_memory: BodyMemory
    upload_memory: BodyMemory
    answer_memory: AnswerMemory
    answer_places: AnswerPlaces
    db: Database
    coordinator_db: Database
    schema: Inquiry[str | None]
    clients: Clients
    census: Census
    survey: Survey
    breakers: Breakers
    outcomes: Outcomes
    connectivity: ConnectivityMatrix
    selections: Selections
    trainings: Trainings
    waits: RoundWaits
    models: Models
    caller: AgentCaller
    address_guard: AddressGuard
    webhooks: Webhooks
    webhook_deliveries: WebhookDeliveries
    participants: Participants
    task_watch: TaskWatch
    pulls: Pulls
    deliveries: Deliveries
    appends: Appends
    coordinator: Coordinator
    interruptions: Interruptions
    prober: HealthProber
    timekeeper: Timekeeper
    housekeeper: Housekeeper
    feed: EventFeed

    async def disconnect(self) -> None:
        """Close every connection to the database."""
        await asyncio.gather(*(db.dispose() for db in {self.db, self.coordinator_db}))
