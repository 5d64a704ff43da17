"""What an exchange with an agent costs the control plane: a task with a model goes out, a result of its size comes in.

The calls are made as in a round, with `AgentCaller` over real sockets, and the results are stored in a spool. The
agents are a plain protocol in a process of their own, which is not counted. Selection, checks, the database and the
aggregation are left out; `round` measures all of it.
"""

import argparse
import asyncio
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from app.clock import SystemClock
from app.demo.stage import HOST, free_port
from app.domain.clients import Endpoint
from app.services.access.secrets import ServerSecret
from app.services.access.tokens import AgentTokens
from app.services.tasks.address_guard import AddressGuard
from app.services.tasks.agents import AgentCaller
from app.services.tasks.bodies import TaskBody
from app.services.tasks.connections import AgentTransport
from app.services.tasks.signer import Signer
from app.settings import AgentSettings
from app.store.model_store import ModelStore
from benchmarks.arena import running, wait_for

SIZES = {1_000: 20, 1_000_000: 8, 10_000_000: 3}
"""The sizes of bodies, and how often all agents are called with each."""


def main(arguments: Sequence[str]) -> int:
    """Measure the CPU time of a task and its result by the size of their bodies."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks exchanges", description=__doc__)
    parser.add_argument("--agents", type=int, default=50, help="that are called at the same time")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=list(SIZES), help="of a model and of a result, in bytes"
    )
    options = parser.parse_args(arguments)
    for size in options.sizes:
        cpu, wall = measure(size, options.agents, SIZES.get(size, 5))
        print(f"{size:11,} B  {cpu * 1e3:8.3f} ms of CPU time, one every {wall * 1e3:8.3f} ms", flush=True)
    print(f"exchanges: medians, with {options.agents} agents at a time; load {os.getloadavg()[0]:.1f}")
    return 0


def measure(size: int, agents: int, times: int) -> tuple[float, float]:
    """Return the CPU seconds of one exchange, and the seconds in which one of them is made."""
    with tempfile.TemporaryDirectory(prefix="tcsfeel-bench-") as temporary:
        directory, port = Path(temporary), free_port()
        arguments = (str(port), str(size))
        with running("agents", "benchmarks.plain_agents:main", *arguments, directory=directory, environment=_here()):
            wait_for(lambda: _listens(port))
            return asyncio.run(_measure(f"http://{HOST}:{port}", directory, size, agents, times))


async def _measure(url: str, directory: Path, size: int, agents: int, times: int) -> tuple[float, float]:
    settings = AgentSettings(allowed_networks=("127.0.0.0/8",))
    caller = AgentCaller(
        settings,
        max_bytes=2 * size,
        tokens=AgentTokens(ServerSecret([b"a secret of the benchmark"])),
        transport=AgentTransport(settings, AddressGuard(settings.allowed_networks)),
        signer=Signer([bytes(32)], SystemClock()),
    )
    body = TaskBody(b"", memoryview(bytes(size)))
    await body.digest()
    spent: list[tuple[float, float]] = []
    for number in range(times + 1):
        spool = ModelStore(directory / str(number), durable=False)
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(
            *(caller.hand_over(Endpoint(url), f"t.{agent}", body, spool.within(str(agent))) for agent in range(agents))
        )
        spent.append(((time.process_time() - cpu) / agents, (time.perf_counter() - wall) / agents))
        spool.clear()
    await caller.close()
    cpus, walls = zip(*spent[1:], strict=True)  # the first time opens the connections
    return statistics.median(cpus), statistics.median(walls)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _here() -> dict[str, str]:
    """Return an environment in which the child finds the benchmarks."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
