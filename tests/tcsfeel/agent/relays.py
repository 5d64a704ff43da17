"""Agents that relay, in one process: the calls of a relay reach its children by their host names."""

import asyncio
from collections.abc import Sequence

import httpx2
import numpy as np

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task
from tcsfeel.agent.app import Agent
from tcsfeel.agent.relaying import Relaying
from tcsfeel.agent.signing import Signing
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import Packed, pack, unpack
from tcsfeel.wire.digests import digest_of
from tcsfeel.wire.grants import granted_by_key, granted_by_token
from tcsfeel.wire.relays import Child, Partial, Subtree, read_partial, subtree_metadata
from tcsfeel.wire.tasks import task_id, task_metadata

SERVER = Identity(bytes(range(32)))
NOW = 1_795_996_800.0
TOKEN = "s3cret"


class StepTrainer:
    """Moves every tensor by a step of its own, and says so many examples."""

    def __init__(self, step: Parameters, examples: int) -> None:
        self.step = step
        self.examples = examples
        self.tasks: list[Task] = []

    def initial_parameters(self) -> Parameters:
        return {name: np.zeros_like(array) for name, array in self.step.items()}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self.tasks.append(task)
        moved = {name: (array + self.step[name]).astype(array.dtype) for name, array in parameters.items()}
        return FitResult(moved, self.examples, 0.5, 0.75)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        del parameters, task
        return EvaluateResult(self.examples, 0.5, 0.75)

    def profile(self) -> Profile:
        return Profile(data_size=self.examples)


class ByHost(httpx2.AsyncBaseTransport):
    """Routes calls to applications by host. `gone` are hosts that cannot be reached."""

    def __init__(self) -> None:
        self.apps: dict[str, httpx2.AsyncBaseTransport] = {}
        self.gone: set[str] = set()
        self.calls: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.calls.append(request)
        if request.url.host in self.gone:
            raise httpx2.ConnectError("nobody is there", request=request)
        return await self.apps[request.url.host].handle_async_request(request)


class Grove:
    """Agents of one training, each under its client id as the host."""

    def __init__(self, model: Parameters) -> None:
        self.model: Packed = pack(model)
        self.network = ByHost()
        self.agents: dict[str, Agent] = {}
        self.keys: dict[str, Identity] = {}

    def add(self, client_id: str, step: Parameters, examples: int, *, key: bool = False, relays: bool = True) -> Agent:
        signing = None
        if key:
            self.keys[client_id] = Identity(client_id.encode().ljust(32, b"."))
            signing = Signing(self.keys[client_id], SERVER.public_key, clock=lambda: NOW)
        agent = Agent(
            StepTrainer(step, examples),
            token=TOKEN,
            signing=signing,
            now=lambda: NOW,
            relaying=Relaying(transport=self.network) if relays else None,
        )
        self.agents[client_id] = agent
        self.network.apps[client_id] = httpx2.ASGITransport(agent)
        return agent

    def task(self, client_id: str) -> Task:
        return Task(id=task_id("t", 1, client_id, "fit"), kind="fit", training_id="t", round=1, deadline_seconds=60.0)

    def child(self, client_id: str, relay: str, **changes: object) -> Child:
        plain = Child(
            client_id=client_id,
            task_id=task_id("t", 1, client_id, "fit"),
            url=f"http://{client_id}/",
            deadline_seconds=30.0,
            data_size=1000,
            public_key=self.keys[client_id].public_key if client_id in self.keys else "",
        )
        digest = digest_of(self.model.payload(task_metadata(plain.task(self.task(relay)))))
        expires = int(NOW) + 30
        grant = (
            granted_by_key(SERVER, plain.task_id, digest, expires)
            if client_id in self.keys
            else granted_by_token(TOKEN, plain.task_id, digest, expires)
        )
        fields = {name: getattr(plain, name) for name in Child.rules} | {"grant": str(grant)} | changes
        return Child(**fields)

    async def relayed(self, relay: str, children: Sequence[Child]) -> tuple[Packed, Partial]:
        """Let a relay run its task, and return the mean with what is said of it."""
        subtree = Subtree(client_id=relay, children=tuple(children))
        header, block = self.model.payload({**task_metadata(self.task(relay)), **subtree_metadata(subtree)})
        agent = self.agents[relay]
        async with asyncio.timeout(30):
            await agent.accept(self.task(relay).id, memoryview(header + bytes(block)))
            entry = await agent.table.wait(self.task(relay).id, 30)
        assert entry is not None
        assert entry.payload is not None, entry.failure
        packed, metadata = unpack(b"".join(entry.payload))
        partial = read_partial(metadata)
        assert partial is not None
        return packed, partial
