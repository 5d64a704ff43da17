"""Whether this process should get traffic."""

from sqlalchemy.exc import SQLAlchemyError

from app.services.system import System
from app.store.availability import DatabaseUnavailable

TIMEOUT_SECONDS = 3.0
TICKS_MISSED = 50


async def readiness(system: System) -> dict[str, str]:
    """Return the finding of each check, ``ok`` if it found no problem."""
    return {
        "database": await _database(system),
        "coordinator": _coordinator(system),
        "storage": system.interruptions.finding(),
    }


async def _database(system: System) -> str:
    try:
        obstacle = await system.schema.answer()
    except DatabaseUnavailable as error:
        return error.finding
    except (SQLAlchemyError, OSError, TimeoutError):
        return DatabaseUnavailable.finding
    return obstacle or "ok"


def _coordinator(system: System) -> str:
    if not system.settings.coordinator.enabled:
        return "ok"
    age, finding = system.coordinator.tick_age, system.coordinator.finding
    why = f": the database {finding}" if finding else ""
    if age > max(TIMEOUT_SECONDS, TICKS_MISSED * system.settings.coordinator.tick_seconds):
        return f"has not ticked for {age:.1f} s{why}"
    seconds = system.coordinator.outage_seconds
    return f"has been held up for {seconds:.0f} s{why}" if seconds > TIMEOUT_SECONDS else "ok"
