"""A transaction: one repository for each noun, all on the same connection, and the database's time."""

import time
from functools import cache, cached_property
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from app.store.api_keys import ApiKeyRepository
from app.store.audit import AuditRepository
from app.store.carried import CarriedRepository
from app.store.client_changes import ClientChangeRepository
from app.store.clients import ClientRepository
from app.store.connectivity import ConnectivityRepository
from app.store.control_rounds import ControlRoundRepository
from app.store.enrolments import EnrolmentRepository
from app.store.events import EventRepository
from app.store.histories import HistoryRepository
from app.store.idempotency import IdempotencyRepository
from app.store.invitations import InvitationRepository
from app.store.leases import LeaseRepository
from app.store.links import LinkRepository
from app.store.mailbox import MailboxRepository
from app.store.models import ModelVersionRepository
from app.store.removals import RemovalRepository
from app.store.request_rates import RequestRateRepository
from app.store.rounds import RoundRepository
from app.store.selections import SelectionRepository
from app.store.sketches import SketchRepository
from app.store.tokens import TokenRepository
from app.store.trainings import TrainingRepository
from app.store.uploads import UploadRepository
from app.store.vitals import VitalsRepository
from app.store.webhooks import WebhookRepository


class Transaction:
    """Made by `Database.begin` and `Database.read`; lives as long as their block.

    `began` is when it began, in monotonic seconds. It sees at least what was committed before.
    """

    def __init__(self, connection: AsyncConnection, clock: ColumnElement[float]) -> None:
        self.connection = connection
        self.began = time.monotonic()
        self._clock = clock

    async def now(self) -> float:
        """Read the database's clock in unix seconds."""
        return float((await self.connection.execute(_time(self._clock))).scalar_one())

    @cached_property
    def clients(self) -> ClientRepository:
        return ClientRepository(self.connection)

    @cached_property
    def client_changes(self) -> ClientChangeRepository:
        return ClientChangeRepository(self.connection)

    @cached_property
    def invitations(self) -> InvitationRepository:
        return InvitationRepository(self.connection)

    @cached_property
    def enrolments(self) -> EnrolmentRepository:
        return EnrolmentRepository(self.connection)

    @cached_property
    def mailbox(self) -> MailboxRepository:
        return MailboxRepository(self.connection)

    @cached_property
    def uploads(self) -> UploadRepository:
        return UploadRepository(self.connection)

    @cached_property
    def tokens(self) -> TokenRepository:
        return TokenRepository(self.connection)

    @cached_property
    def connectivity(self) -> ConnectivityRepository:
        return ConnectivityRepository(self.connection)

    @cached_property
    def links(self) -> LinkRepository:
        return LinkRepository(self.connection)

    @cached_property
    def trainings(self) -> TrainingRepository:
        return TrainingRepository(self.connection)

    @cached_property
    def leases(self) -> LeaseRepository:
        return LeaseRepository(self.connection, self._clock)

    @cached_property
    def rounds(self) -> RoundRepository:
        return RoundRepository(self.connection)

    @cached_property
    def carried(self) -> CarriedRepository:
        return CarriedRepository(self.connection)

    @cached_property
    def histories(self) -> HistoryRepository:
        return HistoryRepository(self.connection)

    @cached_property
    def control_rounds(self) -> ControlRoundRepository:
        return ControlRoundRepository(self.connection)

    @cached_property
    def selections(self) -> SelectionRepository:
        return SelectionRepository(self.connection)

    @cached_property
    def sketches(self) -> SketchRepository:
        return SketchRepository(self.connection)

    @cached_property
    def models(self) -> ModelVersionRepository:
        return ModelVersionRepository(self.connection)

    @cached_property
    def removals(self) -> RemovalRepository:
        return RemovalRepository(self.connection, self._clock)

    @cached_property
    def events(self) -> EventRepository:
        return EventRepository(self.connection, self._clock)

    @cached_property
    def request_rates(self) -> RequestRateRepository:
        return RequestRateRepository(self.connection, self._clock)

    @cached_property
    def api_keys(self) -> ApiKeyRepository:
        return ApiKeyRepository(self.connection)

    @cached_property
    def audit(self) -> AuditRepository:
        return AuditRepository(self.connection, self._clock)

    @cached_property
    def idempotency(self) -> IdempotencyRepository:
        return IdempotencyRepository(self.connection)

    @cached_property
    def vitals(self) -> VitalsRepository:
        return VitalsRepository(self.connection)

    @cached_property
    def webhooks(self) -> WebhookRepository:
        return WebhookRepository(self.connection, self._clock)


@cache
def _time(clock: ColumnElement[float]) -> Select[Any]:
    """Make the query for the time once for each database, since SQLAlchemy prepares a known query faster."""
    return select(clock)
