"""What the servers of the crash run have to do: agents, and waves of trainings over them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcsfeel.agent import hosting
from tests.harnesses.api import Api
from tests.harnesses.devices import Devices, Life
from tests.harnesses.explained import Absence
from tests.harnesses.fleet import Learner, learners
from tests.harnesses.replicas import Replicas, running
from tests.harnesses.strategies import GROUPS, client_id, strategy_name

FIT_SECONDS = 0.03
ENDED = {"completed", "failed", "cancelled"}
LOOK_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is trained.

    Attributes:
        rounds: how many rounds a training has.
        pull: whether half of the agents ask for their tasks.
        carry: whether rounds go on without slow agents, which keep their tasks.
        relay: whether updates travel over relays. Then each agent is a process of its own, which can be killed.
    """

    rounds: int = 6
    pull: bool = False
    carry: bool = False
    relay: bool = False

    @property
    def fixed(self) -> bool:
        """Whether all is the same in each run, whatever the faults."""
        return not self.carry and not self.relay

    @property
    def clients_a_group(self) -> int:
        return 6 if self.carry else 4

    @property
    def clients_a_round(self) -> int:
        return 3 if self.fixed else 4

    @property
    def numbers(self) -> dict[str, int]:
        """The numbers of the learners, by client."""
        names = [client_id(group, number) for group in GROUPS for number in range(self.clients_a_group)]
        return {name: number for number, name in enumerate(names)}

    def training(self, wave: int, number: int, group: str) -> dict[str, Any]:
        """Return the body that creates a training of a wave."""
        return {
            "name": f"wave-{wave}-{group}",
            "max_rounds": self.rounds,
            "target_accuracy": 1.0,
            "seed": 100 * wave + number,
            "topology": "relay" if self.relay else "star",
            "selection": {
                "strategy": strategy_name(group),
                "min_clients": self.clients_a_round // 2 if self.relay else self.clients_a_round,
                "max_clients": self.clients_a_round,
            },
            "evaluation": {"clients": 2 if self.fixed else 0},
            "round_policy": self._policy(),
        }

    def _policy(self) -> dict[str, Any]:
        if self.carry:
            return {"quorum": 0.5, "grace_seconds": 0, "stragglers": "carry", "max_staleness": 4}
        if self.relay:
            return {"quorum": 0.25, "grace_seconds": 120, "deadline_seconds": 120, "max_failed_rounds": 1000}
        return {"quorum": 1.0}


@dataclass(frozen=True, slots=True)
class Fleet:
    """The agents of a run: learners of this process, or devices that can be killed."""

    api: Api
    learners: Mapping[str, Learner]
    devices: Devices | None = None

    @property
    def absences(self) -> list[Absence]:
        """When which devices were killed, and were there again."""
        return [] if self.devices is None else self.devices.absences


@asynccontextmanager
async def at_work(replicas: Replicas, work: Work, state: Path) -> AsyncIterator[Fleet]:
    """Run replicas with registered agents."""
    url = f"http://127.0.0.1:{replicas.all[0].port}"
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(running(replicas))
        pulled = {name for name, number in work.numbers.items() if work.pull and number % 2}
        invite = (await api.call("POST", "/v1/invitations", json={"uses": len(pulled)}))["secret"] if pulled else None
        if work.relay:
            devices = Devices(_lives(work, pulled, url, replicas.key, invite=invite, directory=state))
            await stack.enter_async_context(devices.running(api))
            await api.call("PUT", "/v1/connectivity", json={"edges": _links(work)})
            yield Fleet(api, {}, devices)
            return
        fleet = learners(work.numbers, seconds=FIT_SECONDS, slow=30.0 if work.carry else 1.0)
        called = {name: one for name, one in fleet.items() if name not in pulled}
        asking = {name: one for name, one in fleet.items() if name in pulled}
        await stack.enter_async_context(
            hosting(called, server_url=url, api_key=replicas.key, heartbeat_seconds=3600, threads=len(called))
        )
        if asking:
            await stack.enter_async_context(
                hosting(asking, server_url=url, invite=invite, state=state, pull=True, threads=len(asking))
            )
        yield Fleet(api, fleet)


def _lives(work: Work, pulled: set[str], url: str, key: str, *, invite: str | None, directory: Path) -> list[Life]:
    """Describe a process for each agent. The `pulled` ones ask for their tasks."""
    directory.mkdir(parents=True, exist_ok=True)
    return [
        Life(
            client_id=name,
            number=number,
            seconds=3 * FIT_SECONDS,
            directory=directory,
            server_url=url,
            key=key,
            invite=invite if name in pulled else None,
        )
        for name, number in work.numbers.items()
    ]


def _links(work: Work) -> list[dict[str, Any]]:
    """Make links between the clients of a group, which are cheaper than those to the server."""
    return [
        {"source": one, "target": other, "cost": 0.001}
        for one in work.numbers
        for other in work.numbers
        if one < other and one[0] == other[0]
    ]


async def wave(api: Api, work: Work, number: int) -> None:
    """Run a training for each group of clients, from its creation to its end."""
    paths = []
    for place, group in enumerate(GROUPS):
        body = work.training(number, place, group)
        training = await api.call("POST", "/v1/trainings", json=body, headers={"Idempotency-Key": body["name"]})
        paths.append(f"/v1/trainings/{training['id']}")
        await api.call("POST", f"{paths[-1]}/start", also=409)  # 409 if it was started before, without an answer
    for path in paths:
        while (await api.call("GET", path))["status"] not in ENDED:  # noqa: ASYNC110  (servers ring no bell)
            await asyncio.sleep(LOOK_SECONDS)
