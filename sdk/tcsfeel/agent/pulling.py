"""Ask the control plane for the tasks of an agent that it cannot call, and deliver their results.

The agent asks, and waits for an answer. It names the tasks that it has, so that it gets each of them once. While it
trains it keeps asking: this is its sign of life, and tells it when a task is no longer wanted. A result is delivered
until the control plane has given a final answer. Nothing has to be kept over a restart: an agent that does not name a
task gets it again.
"""

import asyncio
import json
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from tcsfeel.agent.app import Agent
from tcsfeel.agent.delivering import SMALL_BYTES, Delivering
from tcsfeel.agent.errors import AgentError, BrokenResult
from tcsfeel.agent.insisting import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Sleep, reason_of
from tcsfeel.agent.replies import Problem, compressed_pieces
from tcsfeel.agent.results import Payload
from tcsfeel.agent.signing import Signing
from tcsfeel.rest.calls import HOLD_SECONDS, bearer
from tcsfeel.rest.problems import ApiError, NotFound, Refused
from tcsfeel.rest.tasks import PROBLEM, NextTask, next_task
from tcsfeel.rest.transport import AsyncTransport
from tcsfeel.wire.codec import unpack
from tcsfeel.wire.compression import ZSTD, accepts_zstd
from tcsfeel.wire.tasks import UNMATCHED_LOCAL, Task, read_source

_log = logging.getLogger(__name__)

_SETTLE_SECONDS = 3600.0  # after which a wait for a trainer begins again


class Puller:
    """Pulls the tasks of one agent.

    Args:
        client_id: the client of the agent.
        agent: runs the tasks.
        transport: makes calls of the control plane, each of them once.
        key: the client's own key; None if `transport` has it.
        signing: the keys with which tasks are checked and results are signed, if the device has some.
        renew: registers the client again, after the control plane has forgotten it.
        instance: identifies this process.
        wait: for how many seconds the control plane may let a question wait. Proxies in between may allow less.
        sleep: waits for this many seconds.
    """

    def __init__(
        self,
        client_id: str,
        agent: Agent,
        transport: AsyncTransport,
        *,
        key: str | None,
        signing: Signing | None,
        renew: Callable[[], Awaitable[object]],
        instance: str | None = None,
        wait: float = HOLD_SECONDS,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._client_id = client_id
        self._agent = agent
        self._transport = transport
        self._headers = bearer(key)
        self._signing = signing
        self._renew = renew
        self._instance = instance
        self._wait = wait
        self._sleep = sleep
        self._delivering = Delivering(client_id, transport, headers=self._headers, signing=signing, sleep=sleep)
        self._works: dict[str, asyncio.Task[None]] = {}
        self._failures = 0

    async def run(self) -> None:
        """Ask for tasks and work on them until cancelled."""
        try:
            while True:
                await self._sleep(await self.step())
        finally:
            works = list(self._works.values())
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)

    async def step(self) -> float:
        """Ask once, and begin to work on the task that came. Returns for how many seconds to stay away."""
        try:
            found = await self._ask()
        except NotFound:
            return await self._register_again()
        except (ApiError, AgentError) as error:
            return self._pause(error)
        self._failures = 0
        for task_id in found.unwanted:
            self._drop(task_id)
        if found.task_id and found.task_id not in self._works:
            self._works[found.task_id] = asyncio.create_task(self._work(found))
        return found.retry_after

    async def _ask(self) -> NextTask:
        nonce = secrets.token_urlsafe(16)
        signed = {} if self._signing is None else self._signing.wanted(nonce)
        fetches = {} if self._agent.fetching is None else self._agent.fetching.said
        found = await self._transport.run(
            next_task(
                self._client_id,
                wait=self._wait,
                known=list(self._works),
                instance=self._instance,
                max_bytes=self._agent.max_body_bytes,
                headers={**self._headers, **signed, **fetches},
            )
        )
        if found.task_id and self._signing is not None:
            self._signing.check_task(found.headers, nonce)
        return found

    async def _register_again(self) -> float:
        _log.info("client %s is no longer known: registering again", self._client_id)
        try:
            await self._renew()
        except (ApiError, AgentError) as error:
            return self._pause(error)
        pause = self._grown()
        return 0.0 if self._failures == 1 else pause  # else the next question was answered 404 again

    def _pause(self, error: ApiError | AgentError) -> float:
        """Say why there was no task, and return for how many seconds to stay away."""
        pause = self._grown()
        if isinstance(error, Refused) and error.retry_after is not None:
            pause = max(pause, error.retry_after)
        reason = reason_of(error) if isinstance(error, ApiError) else str(error)
        level = logging.DEBUG if self._failures == 1 else logging.WARNING  # one lost connection is no news
        _log.log(level, "client %s got no task (%s); asking again in %.1f s", self._client_id, reason, pause)
        return pause

    def _grown(self) -> float:
        """Count a question that got no answer, and return a pause that is longer after each of them."""
        pause: float = min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 16), LONGEST_PAUSE_SECONDS)
        self._failures += 1
        return pause * random.uniform(0.5, 1)  # noqa: S311  (spreads agents; guards nothing)

    def _drop(self, task_id: str) -> None:
        """Stop a task that is no longer wanted."""
        self._agent.table.delete(task_id)
        if (work := self._works.pop(task_id, None)) is not None:
            work.cancel()

    async def _work(self, found: NextTask) -> None:
        """Run a task, and deliver what comes of it."""
        try:
            payload = await self._run(found)
            if payload is None:
                return
            coding = {}
            pieces: Sequence[bytes | memoryview] = payload
            if accepts_zstd(found.headers.get("Accept-Encoding", "")):
                pieces, coding = await asyncio.to_thread(compressed_pieces, payload), {"Content-Encoding": ZSTD}
            is_there = await self._put(found, pieces)
            await self._delivering.deliver(found.task_id, pieces, coding, is_there=is_there)
        except Problem as problem:
            await self._delivering.deliver(found.task_id, [problem.body()], {"Content-Type": PROBLEM})
        finally:
            if self._works.get(found.task_id) is asyncio.current_task():  # else it was dropped, and may have come again
                del self._works[found.task_id]
                self._agent.table.delete(found.task_id)

    async def _put(self, found: NextTask, pieces: Sequence[bytes | memoryview]) -> bool:
        """Put a large result where its task says, if it says so."""
        fetching, source = self._agent.fetching, read_source(unpack(found.body)[1])
        if fetching is None or source is None or not source.upload or sum(map(len, pieces)) <= SMALL_BYTES:
            return False
        return await fetching.put(found.task_id, source.upload, pieces)

    async def _run(self, found: NextTask) -> Payload | None:
        """Do what a task says; None if its parameters could not be fetched, so that it has to be asked for again.

        Raises `Problem` if there is no result.
        """
        task = self._agent.read(found.task_id, found.body)
        if task.kind == "model":
            return await self._initial(task)
        entry = await self._agent.accept(found.task_id, found.body)
        while entry.state == "running":
            await self._agent.table.settle(entry, _SETTLE_SECONDS)
        if entry.state == "done" and entry.payload is not None:
            return entry.payload
        if entry.state == "lost":
            return None
        if entry.state == "cancelled":
            raise Problem(HTTPStatus.GONE, f"task {found.task_id!r} was cancelled")
        raise Problem(
            HTTPStatus.INTERNAL_SERVER_ERROR, entry.failure, broken_trainer=entry.broken, traceback=entry.traceback
        )

    async def _initial(self, task: Task) -> Payload:
        try:
            model, unmatched = await self._agent.table.initial_model(task.local_tensors)
        except BrokenResult as error:
            raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
        return model.payload({UNMATCHED_LOCAL: json.dumps(unmatched)} if task.local_tensors else None)
