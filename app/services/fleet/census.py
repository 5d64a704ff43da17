"""Counting clients and breakers for the metrics."""

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.metrics import Metrics
from app.services.fleet.clients import Clients
from app.services.fleet.inquiries import Inquiry
from app.store.database import in_a_line

TIMEOUT_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Census:
    """Brings the gauges up to date where the database answers in time; else they keep what was counted last."""

    def __init__(self, clients: Clients, metrics: Metrics, *, seconds: float = TIMEOUT_SECONDS) -> None:
        self._inquiry = Inquiry(lambda: clients.count(metrics), seconds=seconds)

    async def take(self) -> None:
        try:
            await self._inquiry.answer()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("clients and breakers could not be counted", reason=in_a_line(error))

    def close(self) -> None:
        self._inquiry.close()
