"""A whole control plane in the test's process, with agents that it reaches over ASGI instead of sockets."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from app.clock import Clock, SystemClock
from app.composition import build
from app.domain import clients as domain
from app.domain.rounds import ENDED, Round
from app.domain.trainings import RoundPolicy, SelectionConfig, TrainingConfig
from app.services.lifetime import running
from app.services.system import System
from app.settings import Settings
from app.store.database import is_outage
from app.traces import Traces
from tcsfeel.agent import AgentHost, EvaluateResult, FitResult, Parameters, Profile, Task
from tcsfeel.aggregation.goals import Goal
from tcsfeel.wire.codec import decode
from tests.services.network import Network

PATIENCE = 60.0  # seconds until a condition that should come true is given up: machines may be busy
LOOK_SECONDS = 0.03


class Adder:
    """Adds `step` to the one parameter ``w``; what it measures, and whether it waits or raises, the test sets."""

    def __init__(self, step: float = 1.0, *, examples: int = 10, accuracy: float = 0.5, loss: float = 1.0) -> None:
        self.step = step
        self.examples = examples
        self.accuracy = accuracy
        self.loss = loss
        self.fitted: Counter[str] = Counter()
        self.evaluated: Counter[str] = Counter()
        self.received: list[float] = []
        self.hyperparameters: Mapping[str, Any] = {}
        self.open = threading.Event()
        self.open.set()
        self.problem: Exception | None = None
        self.returns: Parameters | None = None
        self.steps: int | None = None
        self.asked_steps: int | None = None

    def initial_parameters(self) -> Parameters:
        return {"w": np.zeros(3, np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self.fitted[task.id] += 1
        self.hyperparameters = task.hyperparameters
        self.received.append(float(parameters["w"][0]))
        assert self.open.wait(PATIENCE)
        if self.problem is not None:
            raise self.problem
        moved = {"w": parameters["w"] + np.float32(self.step)} if self.returns is None else self.returns
        return FitResult(
            moved, self.examples, self.loss, self.accuracy, num_steps=self.steps, asked_steps=self.asked_steps
        )

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        self.evaluated[task.id] += 1
        return EvaluateResult(self.examples, self.loss, min(1.0, float(parameters["w"][0]) / 10))

    def profile(self) -> Profile:
        return Profile(data_size=self.examples)


class Plane:
    """A running system, the trainers behind its clients, and the host that serves them."""

    def __init__(self, system: System, trainers: Mapping[str, Adder], host: AgentHost) -> None:
        self.system = system
        self.trainers = trainers
        self.host = host

    async def create(self, *, clients: int | None = None, **fields: Any) -> str:
        """A training whose every round takes all clients, or as many as told."""
        count = len(self.trainers) if clients is None else clients
        given: dict[str, Any] = {
            "name": "test",
            "goal": Goal(target=1.0),
            "selection": SelectionConfig(strategy="random", min_clients=count, max_clients=count),
            "evaluation_clients": 100,
        }
        return (await self.system.trainings.create(TrainingConfig(**(given | fields)))).id

    async def round(self, training_id: str, number: int) -> Round:
        return await self.system.trainings.round(training_id, number)

    async def run_round(self, training_id: str) -> Round:
        """One round by hand, from its order to the training at rest."""
        number = await self.system.trainings.run_round(training_id)
        await until(lambda: self._driven_to_rest(training_id, number))
        return await self.round(training_id, number)

    async def drive(self) -> None:
        """Let the coordinator look for work once."""
        await self.system.coordinator.tick()

    async def ended(self, training_id: str, number: int) -> Round:
        await until(lambda: self._has_ended(training_id, number))
        return await self.round(training_id, number)

    async def weight(self, training_id: str, number: int | None = None) -> float:
        """The first value of ``w`` in a model version."""
        stored = await self.system.models.get(training_id, number)
        return float(decode(stored.path.read_bytes())[0]["w"][0])

    async def _driven_to_rest(self, training_id: str, number: int) -> bool:
        await self.drive()  # more than once: the lease of a round before may just be on its way back
        training = await self.system.trainings.get(training_id)
        ended = training.status != "running" and await self._has_ended(training_id, number)
        return ended and not self._drives(training_id)

    def _drives(self, training_id: str) -> bool:
        """Whether the coordinator still holds the lease: until it has given that back, nobody can claim it again."""
        return any(task.get_name() == f"training {training_id}" for task in self.system.coordinator._driving)

    async def _has_ended(self, training_id: str, number: int) -> bool:
        known = (await self.system.trainings.rounds(training_id, limit=1000, before=None)).items
        return any(value.number == number and value.status in ENDED for value in known)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once `condition` holds; fail if it does not come true. A database that is not there is asked again."""
    async with asyncio.timeout(PATIENCE):
        while not await _holds(condition):  # noqa: ASYNC110  (the condition is in a database, which rings no bell)
            await asyncio.sleep(LOOK_SECONDS)


async def _holds(condition: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await condition()
    except Exception as error:
        if is_outage(error):
            return False
        raise


def settings(directory: Path, database_url: str, **overrides: Any) -> Settings:
    """A control plane whose coordinator the test drives."""
    given: dict[str, Any] = {
        "data_dir": directory,
        "database": {"url": database_url},
        "coordinator": {"enabled": False, "tick_seconds": 0.05, "lease_seconds": 5},
        "agents": {"poll_seconds": 0.5},
        "auth": {"admin_key": "the-key-of-all-servers"},
    }
    return Settings(**(given | overrides))


@asynccontextmanager
async def plane(
    directory: Path,
    database_url: str,
    trainers: Mapping[str, Adder],
    *,
    clock: Clock | None = None,
    host: AgentHost | None = None,
    register: bool = True,
    traces: Traces | None = None,
    **overrides: Any,
) -> AsyncIterator[Plane]:
    """A control plane with a client for each trainer. `host` reuses the agents of an earlier one."""
    hosting = AgentHost() if host is None else host
    if host is None:
        for client_id, trainer in trainers.items():
            hosting.add(client_id, trainer, token=f"token-of-{client_id}")
    network = Network(httpx2.ASGITransport(hosting))
    system = build(settings(directory, database_url, **overrides), clock or SystemClock(), network, traces=traces)
    async with running(system):
        if register:
            await system.clients.register(
                [(client_id, registered(client_id, trainer)) for client_id, trainer in trainers.items()]
            )
        try:
            yield Plane(system, trainers, hosting)
        finally:
            for trainer in trainers.values():
                trainer.open.set()
    if host is None:
        hosting.close()


def registered(client_id: str, trainer: Adder) -> domain.Profile:
    """What a client registers whose agent the host serves."""
    return domain.Profile(
        url=f"http://agents{AgentHost.path(client_id)}",
        data_size=trainer.examples,
        compute_capacity=10.0,
        bandwidth=100.0,
        latency=1.0,
        auth_token=f"token-of-{client_id}",
    )


def policy(**fields: Any) -> RoundPolicy:
    return RoundPolicy(**({"grace_seconds": 1000.0, "quorum": 1.0} | fields))
