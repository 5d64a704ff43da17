"""Repeat a request until the control plane gives a final answer.

An agent may start before its control plane: if there is no connection, or the answer is 5xx or 429, it tries again
after a growing pause, or a longer one that the answer asks for. Any other refusal is final.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TypeVar

from tcsfeel.rest.exchange import Steps
from tcsfeel.rest.problems import ApiError, NoAnswer, Refused, UnexpectedAnswer
from tcsfeel.rest.transport import AsyncTransport
from tcsfeel.text import plain

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_STAY_SECONDS = 3600.0  # for which a control plane may ask an agent to stay away
CONCURRENCY = 8  # requests at the same moment

Result = TypeVar("Result")
Item = TypeVar("Item")
Sleep = Callable[[float], Awaitable[object]]

_log = logging.getLogger(__name__)


async def insist(
    transport: AsyncTransport, steps: Callable[[], Steps[Result]], *, sleep: Sleep = asyncio.sleep
) -> Result:
    """Make a call again and again until there is a final answer. Raises `Refused` if it is a refusal."""
    for attempt in itertools.count():
        least = 0.0
        try:
            return await transport.run(steps())
        except Refused as error:
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR and error.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise
            reason = reason_of(error)
            least = min(error.retry_after or 0.0, LONGEST_STAY_SECONDS)
        except (NoAnswer, UnexpectedAnswer) as error:  # such as the page of a proxy
            reason = reason_of(error)
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(attempt, 16), LONGEST_PAUSE_SECONDS)
        pause *= random.uniform(0.5, 1)  # noqa: S311  (spreads agents that start together; guards nothing)
        pause = max(pause, least)
        server = transport.server
        _log.warning("the control plane %s is not ready (%s); asking again in %.1f s", server, reason, pause)
        await sleep(pause)
    raise AssertionError


async def in_parallel(call: Callable[[Item], Awaitable[Result]], items: Sequence[Item]) -> list[Result]:
    """Await the call for each item, a few at a time. The first error cancels the rest."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def pass_gate(item: Item) -> Result:
        async with gate:
            return await call(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(pass_gate(item)) for item in items]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def reason_of(error: ApiError) -> str:
    """Return the text of a refusal with the fields that it names, or the reason why there was no answer."""
    if not isinstance(error, Refused):
        return str(error)
    return f"{error.status} {detail_of(error)}"


def detail_of(error: Refused) -> str:
    """Return the text of a refusal with the fields that it names."""
    errors = [f"{wrong.pointer}: {wrong.detail}" for wrong in error.errors[:3] if wrong.detail not in error.detail]
    return plain("; ".join([error.detail, *errors]), 500)
