"""What signatures cost: an exchange with an agent that has a key beside one with an agent that has none.

Both sides run in this process, without a network between them, so the CPU time is that of the control plane and of the
agent together. One exchange hands a task over and brings its result. The result is as large as the task.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2
import numpy as np

from app.clock import SystemClock
from app.domain.clients import Endpoint
from app.services.access.secrets import ServerSecret
from app.services.access.tokens import AgentTokens
from app.services.tasks.agents import AgentCaller
from app.services.tasks.bodies import TaskBody
from app.services.tasks.signer import Signer
from app.settings import AgentSettings
from app.store.model_store import ModelStore
from tcsfeel.agent import Agent, FitResult, Parameters, Profile, Signing, Task
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import pack
from tcsfeel.wire.tasks import task_metadata
from tests.services.network import Network

DEVICE = Identity.make()
SERVER_SEED = bytes(32)
FLOAT = 4  # bytes


class Echo:
    """A trainer that returns what it was given."""

    def initial_parameters(self) -> Parameters:
        return {}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        del task
        return FitResult(dict(parameters), num_examples=1, loss=0.0)

    def profile(self) -> Profile:
        return Profile(data_size=1)


async def exchange(size: int, *, signed: bool, number: int) -> float:
    """Return the CPU seconds of each of `number` exchanges with bodies of `size` bytes."""
    signing = Signing(DEVICE, Identity(SERVER_SEED).public_key) if signed else None
    agent = Agent(Echo(), signing=signing)
    endpoint = Endpoint("http://agent", public_key=DEVICE.public_key if signed else None)
    caller = AgentCaller(
        AgentSettings(),
        max_bytes=1 << 30,
        tokens=AgentTokens(ServerSecret([b"a secret of the benchmark"])),
        transport=Network(httpx2.ASGITransport(agent)),
        signer=Signer([SERVER_SEED], SystemClock()),
    )
    model = pack({"w": np.zeros(size // FLOAT, np.float32)})
    with tempfile.TemporaryDirectory() as directory:
        spool = ModelStore(Path(directory), durable=False)
        started = time.process_time()
        for task_number in range(number):
            task = Task(id=f"t.{task_number}.a.fit", kind="fit", training_id="t", round=1, deadline_seconds=60.0)
            reply = await caller.hand_over(endpoint, task.id, TaskBody(*model.payload(task_metadata(task))), spool)
            while reply.answer == "working":
                reply = await caller.poll(endpoint, task.id, 5.0, spool)
            agent.table.delete(task.id)
        spent = time.process_time() - started
    agent.close()
    await caller.close()
    return spent / number


def main(arguments: Sequence[str]) -> int:
    """CPU time of a signed exchange with an agent beside that of an unsigned one."""
    parser = argparse.ArgumentParser(prog="signatures", description=__doc__)
    parser.add_argument("--number", type=int, default=300, help="exchanges of each kind (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of which the median counts (%(default)s)")
    given = parser.parse_args(arguments)
    print(f"{'body':>10} {'unsigned ms':>12} {'signed ms':>12} {'more':>8}")
    for size in (1_000, 1_000_000):
        spent: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(given.repeats):
            for signed, figures in spent.items():  # in turn, so that a busy machine slows both
                figures.append(asyncio.run(exchange(size, signed=signed, number=given.number)) * 1e3)
        plain, with_key = (statistics.median(figures) for figures in spent.values())
        print(f"{size:>10} {plain:>12.3f} {with_key:>12.3f} {with_key - plain:>8.3f}")
    return 0
