"""Run until a signal ends it."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from tcsfeel.agent.errors import AgentError


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run until done, or until SIGINT or SIGTERM cancels; a second signal cuts the clean-up short.

    It logs to stderr if logging was not configured.

    Raises:
        AgentError: an event loop already runs in this thread, as in a notebook.
    """
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        work.close()
        raise AgentError(
            "an event loop already runs here, as in a notebook: use `async with hosting(...)` of tcsfeel.agent instead"
        )
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("httpx2").setLevel(logging.WARNING)

    async def until_told() -> None:
        task = asyncio.create_task(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Signals can be handled only in the main thread (ValueError, RuntimeError), and not by asyncio's loop on
            # Windows (NotImplementedError). In these cases, `asyncio.run` itself handles Ctrl-C, and also cancels.
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(until_told())
