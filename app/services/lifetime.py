"""Run the loops of one process, from its start to its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import structlog

from app import __version__
from app.origins import context_of
from app.services.running.starting import prepare_database
from app.services.running.warnings import warn
from app.services.system import System
from app.store.mailbox import CHANNEL
from app.store.notices import listen
from app.threads import in_thread

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def running(system: System) -> AsyncIterator[None]:
    """Bring the database up to date where that is ours to do, run the loops, and stop them in order."""
    settings = system.settings
    await prepare_database(settings)
    await system.timekeeper.begin()
    begin = partial(asyncio.create_task, context=context_of(system.name))
    of_all = (
        system.housekeeper,
        system.clients.signs,
        system.feed,
        system.key_watch,
        system.limits,
        system.audit,
        system.task_watch,
    )
    loops = [begin(one.run()) for one in of_all]
    loops.append(begin(listen(system.coordinator_db.url, CHANNEL, system.task_watch.hint)))
    loops.append(begin(warn(settings, system.coordinator_db, system.keys)))
    if settings.coordinator.enabled:
        newcomers = system.clients.newcomers.run(system.prober.prove)
        webhooks = system.webhook_deliveries.run()
        loops += map(begin, (system.coordinator.run(), system.prober.run(), newcomers, webhooks))
    else:
        loops.append(begin(system.timekeeper.run()))
    log.info("started", version=__version__, database=system.db.url.render_as_string(hide_password=True))
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await system.waits.close()
        await system.webhook_deliveries.close()
        system.task_watch.stop()
        await system.clients.signs.close()
        await system.key_watch.close()
        try:
            async with asyncio.timeout(settings.coordinator.drain_seconds):
                await system.coordinator.stop()
                await system.participants.drain()
        except TimeoutError:
            log.warning("some agents were not told that their results are no longer wanted")
        finally:
            system.schema.close()
            system.census.close()
            system.survey.close()
            await system.caller.close()
            await system.audit.close()
            await in_thread("administration", system.traces.close)
            await system.disconnect()
            log.info("stopped")
