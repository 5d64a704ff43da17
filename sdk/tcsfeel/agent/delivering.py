"""Deliver the result of a task, until the control plane has given a final answer.

A small result goes in one call. A large one goes in parts, so that a lost connection costs what was on its way and not
what had arrived. Parts become smaller when connections are lost, and larger while none is. Where the control plane
cannot take parts, or its servers disagree about what has arrived, the result goes in one call again.
"""

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from tcsfeel.agent.insisting import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    LONGEST_STAY_SECONDS,
    Sleep,
    insist,
    reason_of,
)
from tcsfeel.agent.replies import Problem
from tcsfeel.agent.signing import Signing
from tcsfeel.rest.problems import ApiError, NoAnswer, Refused, Unavailable, UnexpectedAnswer
from tcsfeel.rest.tasks import PROBLEM, ResultProgress, append_result, put_result, result_progress
from tcsfeel.rest.transport import AsyncTransport
from tcsfeel.wire.digests import digest_of, written_digest
from tcsfeel.wire.resuming import YES
from tcsfeel.wire.signatures import digest_header
from tcsfeel.wire.tasks import BY_URL

_log = logging.getLogger(__name__)

CORRUPTED_TRIES = 3  # of a delivery whose bytes change on the way
UNTAKABLE = frozenset({413, 415, 422})  # the statuses of a result that would be refused again
SMALL_BYTES = 1 << 20  # of a result that goes in one call
PART_BYTES = 1 << 23
LEAST_PART_BYTES = 1 << 20
MOST_PART_BYTES = 1 << 26
DISAGREEMENTS = 3  # one after the other, after which a result goes in one call
_WITHOUT_PARTS = frozenset({405, 422, 501})  # what a control plane answers that knows no parts, or takes no more


class Delivering:
    """Delivers the results of one client.

    Args:
        client_id: the client.
        transport: makes calls of the control plane, each of them once.
        headers: those of every call, with the client's key.
        signing: the keys with which results are signed, if the device has some.
        sleep: waits for this many seconds.
    """

    def __init__(
        self,
        client_id: str,
        transport: AsyncTransport,
        *,
        headers: Mapping[str, str],
        signing: Signing | None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._client_id = client_id
        self._transport = transport
        self._headers = headers
        self._signing = signing
        self._sleep = sleep

    async def deliver(
        self,
        task_id: str,
        pieces: Sequence[bytes | memoryview],
        headers: Mapping[str, str],
        *,
        is_there: bool = False,
    ) -> None:
        """Deliver a result, or a failure, until there is a final answer.

        `headers` name a content coding, or the media type of a failure. The control plane is only told of a result that
        `is_there` already, where its task said, and is sent it if that is of no use. Raises `Problem` if the result
        cannot be taken. Without it the task would come, and be trained, again.
        """
        digest = written_digest(await asyncio.to_thread(digest_of, pieces))
        failed = headers.get("Content-Type") == PROBLEM
        in_parts = not failed and sum(map(len, pieces)) > SMALL_BYTES
        for tries in range(CORRUPTED_TRIES):
            try:
                if is_there:
                    await self._whole(task_id, [], {**headers, BY_URL: YES}, digest)
                elif not in_parts or not await self._in_parts(task_id, pieces, headers, digest):
                    await self._whole(task_id, pieces, headers, digest)
            except Refused as error:
                if is_there and error.status in {HTTPStatus.BAD_REQUEST, *UNTAKABLE}:
                    is_there = False
                    continue
                if error.status == HTTPStatus.BAD_REQUEST and tries + 1 < CORRUPTED_TRIES:
                    continue  # it was corrupted on the way
                quiet = error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE}
                level = logging.INFO if quiet else logging.WARNING
                _log.log(level, "the result of task %s was refused: %s", task_id, reason_of(error))
                if error.status in UNTAKABLE and not failed:
                    detail = f"the control plane did not take the result: {reason_of(error)}"
                    raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail, broken_trainer=True) from error
            except UnexpectedAnswer as error:
                _log.warning("the result of task %s could not be delivered: %s", task_id, error)
            return

    async def _whole(
        self, task_id: str, pieces: Sequence[bytes | memoryview], headers: Mapping[str, str], digest: str
    ) -> None:
        said = self._said(task_id, headers, digest, "PUT")
        await insist(
            self._transport, lambda: put_result(self._client_id, task_id, pieces, headers=said), sleep=self._sleep
        )

    async def _in_parts(
        self, task_id: str, pieces: Sequence[bytes | memoryview], headers: Mapping[str, str], digest: str
    ) -> bool:
        """Deliver a result in parts. Returns False if it has to go in one call."""
        said = self._said(task_id, headers, digest, "PATCH")
        offset, size, failures, disagreements = 0, PART_BYTES, 0, 0
        while disagreements < DISAGREEMENTS:
            try:
                progress = await self._transport.run(
                    append_result(self._client_id, task_id, pieces, offset=offset, size=size, headers=said)
                )
            except (NoAnswer, Unavailable, UnexpectedAnswer) as error:  # the last is the page of a proxy, say
                size = max(LEAST_PART_BYTES, size // 2)
                await self._pause(failures, error)
                progress = await self._progress(task_id)
                failures = 0 if progress.offset > offset else failures + 1
            except Refused as error:
                if error.status in _WITHOUT_PARTS:
                    return False
                if error.kind not in {"wrong-offset", "incomplete"}:
                    raise
                disagreements += 1
                progress = await self._progress(task_id)
            else:
                size = min(MOST_PART_BYTES, 2 * size)
                failures = disagreements = 0
            if progress.complete:
                return True
            offset = progress.offset
        return False

    async def _progress(self, task_id: str) -> ResultProgress:
        return await insist(
            self._transport,
            lambda: result_progress(self._client_id, task_id, headers=self._headers),
            sleep=self._sleep,
        )

    async def _pause(self, failures: int, error: ApiError) -> None:
        """Wait after a connection was lost: longer if nothing arrives, and as long as the control plane asks for."""
        pause: float = min(FIRST_PAUSE_SECONDS * 2 ** min(failures, 16), LONGEST_PAUSE_SECONDS) if failures else 0.0
        pause *= random.uniform(0.5, 1)  # noqa: S311  (spreads agents; guards nothing)
        asked = error.retry_after if isinstance(error, Refused) else None
        pause = max(pause, min(asked or 0.0, LONGEST_STAY_SECONDS))
        level = logging.WARNING if pause else logging.DEBUG
        _log.log(level, "a part of a result did not arrive (%s); going on in %.1f s", reason_of(error), pause)
        await self._sleep(pause)

    def _said(self, task_id: str, headers: Mapping[str, str], digest: str, method: str) -> dict[str, str]:
        said = {**self._headers, **headers, digest_header(method): digest}
        if self._signing is not None:
            said |= self._signing.sign_result(self._client_id, task_id, digest, method)
        return said
