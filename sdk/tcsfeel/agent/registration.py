"""Register agents with the control plane, and send heartbeats so that they stay registered.

A refusal of a registration is final. If a heartbeat gets 404, the agent registers again, so a control plane that lost
its database gets its clients back.
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx2

from tcsfeel.agent.errors import AgentError, RegistrationRefused
from tcsfeel.agent.failures import one_line
from tcsfeel.agent.insisting import Sleep, detail_of, in_parallel, insist, reason_of
from tcsfeel.agent.labels import LabelReleases
from tcsfeel.agent.trainer import Trainer
from tcsfeel.rest.calls import bearer, told
from tcsfeel.rest.exchange import Patience
from tcsfeel.rest.paths import path
from tcsfeel.rest.problems import ApiError, NotFound, Refused
from tcsfeel.rest.transport import AsyncTransport
from tcsfeel.text import plain

BATCH = 1000  # clients in one POST /v1/clients/batch, which takes at most 10 000

Json = dict[str, Any]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Member:
    """An agent as it is registered: its address, and the bearer token that it expects. Both are None if it pulls.

    `key` is its own key for the control plane; None if all agents of the process have the same one. `relay` says
    whether it relays updates, and lets others relay its own.
    """

    client_id: str
    url: str | None
    token: str | None = field(repr=False)
    trainer: Trainer
    key: str | None = field(default=None, repr=False)
    relay: bool = False


class Registration:
    """Keeps `members` registered.

    Args:
        members: the agents of this process.
        http: a client whose base URL is the control plane's and which carries the API key of members that have none.
        heartbeat_seconds: pause between two heartbeats of one agent.
        labels: the label counts that may leave the device.
        sleep: waits for this many seconds.

    Attributes:
        instance: tells this process from another one with the same ids.
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
        self._called = [
            member for member in members if member.url is not None
        ]  # questions of the others are a sign too
        self._transport = AsyncTransport(http, Patience(attempts=1))  # this class decides which requests are repeated
        self._heartbeat_seconds = heartbeat_seconds
        self._labels = labels or LabelReleases()
        self._sleep = sleep
        self.instance = secrets.token_hex(8)

    async def register(self) -> None:
        """Register or replace every member. Waits until the control plane is up.

        Raises:
            RegistrationRefused: the control plane refuses one of them.
        """
        if len(self._members) == 1 or any(member.key for member in self._members):  # a batch would need one key for all
            await in_parallel(self._put, self._members)
            return
        for start in range(0, len(self._members), BATCH):
            chunk = self._members[start : start + BATCH]
            entries = await asyncio.to_thread(self._entries, chunk)
            try:
                await self._insist("POST", "/v1/clients/batch", {"clients": entries})
            except RegistrationRefused as refused:
                if refused.status != HTTPStatus.CONFLICT:
                    raise
                await in_parallel(self._put, chunk)  # registered by an earlier process: replace them one by one
        _log.info("registered %d clients", len(self._members))

    async def beat(self) -> int:
        """Send a heartbeat for each member that does not pull.

        Returns how many arrived. Failures are logged; the next beat tries again.
        """
        failures = [reason for reason in await in_parallel(self._beat, self._called) if reason]
        if failures:
            _log.warning("%d of %d heartbeats failed, e.g. %s", len(failures), len(self._called), failures[0])
        return len(self._called) - len(failures)

    async def renew(self, member: Member) -> None:
        """Register a member again, once. Raises `ApiError`, `AgentError`."""
        where = path("/v1/clients/{client_id}", member.client_id)
        await self._transport.run(told("PUT", where, await self._body(member), headers=bearer(member.key)))

    async def run(self) -> None:
        """Send heartbeats for ever."""
        while True:
            await self._sleep(self._heartbeat_seconds)
            try:
                await self.beat()
            except Exception:  # noqa: BLE001  (the loop outlives a failed tick)
                _log.exception("a round of heartbeats failed")

    async def _put(self, member: Member) -> None:
        where = path("/v1/clients/{client_id}", member.client_id)
        await self._insist("PUT", where, await self._body(member), member.key)
        _log.info("registered client %s", member.client_id, extra={"client_id": member.client_id})

    async def _beat(self, member: Member) -> str:
        """Send a heartbeat. Returns an empty text if it arrived, or the reason why it did not."""
        where = path("/v1/clients/{client_id}", member.client_id)
        own = bearer(member.key)
        try:
            try:
                await self._transport.run(told("POST", f"{where}/heartbeat", {"instance": self.instance}, headers=own))
            except NotFound:
                _log.info("client %s is no longer known: registering again", member.client_id)
                await self.renew(member)
        except ApiError as error:
            return reason_of(error)
        except AgentError as error:
            return one_line(error)
        return ""

    async def _insist(self, method: str, path: str, body: Json, key: str | None = None) -> None:
        """Repeat a request until there is a final answer. Raises `RegistrationRefused`."""
        try:
            await insist(self._transport, lambda: told(method, path, body, headers=bearer(key)), sleep=self._sleep)
        except Refused as error:
            raise RegistrationRefused(error.status, detail_of(error)) from None

    async def _body(self, member: Member) -> Json:
        (entry,) = await asyncio.to_thread(self._entries, [member])  # making a profile may have to read the data
        del entry["id"]  # the path says it
        return entry

    def _entries(self, members: Sequence[Member]) -> list[Json]:
        return [_entry(member, self._labels) | {"instance": self.instance} for member in members]


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
            "relay": member.relay,
            "elastic": profile.elastic or None,
        }
    except Exception as error:
        raise AgentError(f"client {member.client_id} has no valid profile: {one_line(error)}") from error
    return {name: value for name, value in entry.items() if value is not None}
