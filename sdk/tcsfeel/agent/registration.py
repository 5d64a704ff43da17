"""Register agents with the control plane, and send heartbeats so that they stay registered.

An agent may start before its control plane: if there is no connection, or the answer is 5xx or 429, it tries again
after a growing pause. Any other refusal is final. If a heartbeat gets 404, the agent registers again, so a control
plane that lost its database gets its clients back.
"""

import asyncio
import itertools
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

import httpx2

from tcsfeel.agent.errors import AgentError, RegistrationRefused
from tcsfeel.agent.failures import one_line
from tcsfeel.agent.labels import LabelReleases
from tcsfeel.agent.trainer import Trainer
from tcsfeel.rest.calls import told
from tcsfeel.rest.exchange import Patience
from tcsfeel.rest.paths import path
from tcsfeel.rest.problems import ApiError, NoAnswer, NotFound, Refused, UnexpectedAnswer
from tcsfeel.rest.transport import AsyncTransport
from tcsfeel.text import plain

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
BATCH = 1000  # clients in one POST /v1/clients/batch, which takes at most 10 000
CONCURRENCY = 8  # requests at the same moment

Json = dict[str, Any]
Result = TypeVar("Result")
Sleep = Callable[[float], Awaitable[object]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Member:
    """An agent as it is registered: its address, and the bearer token that it expects."""

    client_id: str
    url: str
    token: str | None = field(repr=False)
    trainer: Trainer


class Registration:
    """Keeps `members` registered.

    Args:
        members: the agents of this process.
        http: a client whose base URL is the control plane's and which carries the API key.
        heartbeat_seconds: pause between two heartbeats of one agent.
        labels: the label counts that may leave the device.
        sleep: waits for this many seconds.
    """

    def __init__(
        self,
        members: Sequence[Member],
        http: httpx2.AsyncClient,
        *,
        heartbeat_seconds: float,
        labels: LabelReleases | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._members = members
        self._transport = AsyncTransport(http, Patience(attempts=1))  # this class decides which requests are repeated
        self._heartbeat_seconds = heartbeat_seconds
        self._labels = labels or LabelReleases()
        self._sleep = sleep
        self._instance = secrets.token_hex(8)  # tells this process from another one with the same ids

    async def register(self) -> None:
        """Register or replace every member. Waits until the control plane is up.

        Raises:
            RegistrationRefused: the control plane refuses one of them.
        """
        if len(self._members) == 1:
            await self._put(self._members[0])
            return
        for start in range(0, len(self._members), BATCH):
            chunk = self._members[start : start + BATCH]
            entries = await asyncio.to_thread(self._entries, chunk)
            try:
                await self._insist("POST", "/v1/clients/batch", {"clients": entries})
            except RegistrationRefused as refused:
                if refused.status != HTTPStatus.CONFLICT:
                    raise
                await _in_parallel(self._put, chunk)  # registered by an earlier process: replace them one by one
        _log.info("registered %d clients", len(self._members))

    async def beat(self) -> int:
        """Send a heartbeat for each member.

        Returns how many arrived. Failures are logged; the next beat tries again.
        """
        failures = [reason for reason in await _in_parallel(self._beat, self._members) if reason]
        if failures:
            _log.warning("%d of %d heartbeats failed, e.g. %s", len(failures), len(self._members), failures[0])
        return len(self._members) - len(failures)

    async def run(self) -> None:
        """Send heartbeats for ever."""
        while True:
            await self._sleep(self._heartbeat_seconds)
            try:
                await self.beat()
            except Exception:  # noqa: BLE001  (the loop outlives a failed tick)
                _log.exception("a round of heartbeats failed")

    async def _put(self, member: Member) -> None:
        await self._insist("PUT", path("/v1/clients/{client_id}", member.client_id), await self._body(member))
        _log.info("registered client %s", member.client_id, extra={"client_id": member.client_id})

    async def _beat(self, member: Member) -> str:
        """Send a heartbeat. Returns an empty text if it arrived, or the reason why it did not."""
        where = path("/v1/clients/{client_id}", member.client_id)
        try:
            try:
                await self._call("POST", f"{where}/heartbeat", {"instance": self._instance})
            except NotFound:
                _log.info("client %s is no longer known: registering again", member.client_id)
                await self._call("PUT", where, await self._body(member))
        except ApiError as error:
            return _reason(error)
        except AgentError as error:
            return one_line(error)
        return ""

    async def _insist(self, method: str, path: str, body: Json) -> None:
        """Repeat a request until there is a final answer. Raises `RegistrationRefused`."""
        for attempt in itertools.count():
            try:
                return await self._call(method, path, body)
            except Refused as error:
                if error.status < HTTPStatus.INTERNAL_SERVER_ERROR and error.status != HTTPStatus.TOO_MANY_REQUESTS:
                    raise RegistrationRefused(error.status, _detail(error)) from None
                reason = _reason(error)
            except (NoAnswer, UnexpectedAnswer) as error:  # such as the page of a proxy
                reason = _reason(error)
            pause = min(FIRST_PAUSE_SECONDS * 2 ** min(attempt, 16), LONGEST_PAUSE_SECONDS)
            pause *= random.uniform(0.5, 1)  # noqa: S311  (spreads agents that start together; guards nothing)
            server = self._transport.server
            _log.warning("the control plane %s is not ready (%s); asking again in %.1f s", server, reason, pause)
            await self._sleep(pause)
        raise AssertionError

    async def _call(self, method: str, path: str, body: Json) -> None:
        await self._transport.run(told(method, path, body))

    async def _body(self, member: Member) -> Json:
        (entry,) = await asyncio.to_thread(self._entries, [member])  # making a profile may have to read the data
        del entry["id"]  # the path says it
        return entry

    def _entries(self, members: Sequence[Member]) -> list[Json]:
        return [_entry(member, self._labels) | {"instance": self._instance} for member in members]


async def _in_parallel(call: Callable[[Member], Awaitable[Result]], members: Sequence[Member]) -> list[Result]:
    """Await the call for each member, a few at a time. The first error cancels the rest."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def pass_gate(member: Member) -> Result:
        async with gate:
            return await call(member)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(pass_gate(member)) for member in members]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _entry(member: Member, labels: LabelReleases) -> Json:
    if isinstance(member.trainer, type) or not isinstance(member.trainer, Trainer):
        raise AgentError(
            f"client {member.client_id} has no trainer, but {plain(repr(member.trainer), 100)}: pass an object with the"
            " methods initial_parameters, fit and profile"
        )
    try:
        profile = member.trainer.profile()
        entry: Json = {
            "id": member.client_id,
            "url": member.url,
            "auth_token": member.token,
            "data_size": int(profile.data_size),
            "data_distribution": labels.of(member.client_id, profile),
            "compute_capacity": float(profile.compute_capacity),
            "bandwidth": float(profile.bandwidth),
            "latency": float(profile.latency),
            "reliability": float(profile.reliability),
            "server_cost": None if profile.server_cost is None else float(profile.server_cost),
            "tags": dict(profile.tags) or None,
        }
    except Exception as error:
        raise AgentError(f"client {member.client_id} has no valid profile: {one_line(error)}") from error
    return {name: value for name, value in entry.items() if value is not None}


def _reason(error: ApiError) -> str:
    """Return the text of a refusal with the fields that it names, or the reason why there was no answer."""
    if not isinstance(error, Refused):
        return str(error)
    return f"{error.status} {_detail(error)}"


def _detail(error: Refused) -> str:
    errors = [f"{wrong.pointer}: {wrong.detail}" for wrong in error.errors[:3] if wrong.detail not in error.detail]
    return plain("; ".join([error.detail, *errors]), 500)
