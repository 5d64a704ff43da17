"""Run a control plane and agents in processes of their own, and trainings with them."""

import asyncio
import math
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import asyncpg
import numpy as np
from sqlalchemy.engine import make_url

from app.demo import stage
from app.demo.leash import Child
from app.demo.network import link_costs
from app.demo.plane import ENDED, Plane
from app.demo.stage import HOST, ONE_THREAD, free_port, make_key
from benchmarks.fleet import client_id
from benchmarks.machine import cpu_seconds
from tests import postgres

AGENT_PROCESSES = 2
BYTES_PER_FLOAT = 4
MOST_LINKED = 200  # clients, for whose links there is a matrix; a larger one has millions of entries
SIDE = 1000.0  # meters, the side of the square in which the clients lie
PATIENCE = 60.0  # seconds, the longest time until everything runs
LOOK_SECONDS = 0.25
WATCH_SECONDS = 0.5  # between two questions whether a training has ended: the server answers each in some 3 ms


class Stuck(RuntimeError):
    """Something took too long, or has a wrong result."""


@dataclass(frozen=True, slots=True)
class Served:
    """A control plane that runs in a process of its own, with its data in `directory`.

    `loop` is the file in which the module that watches its event loop writes.
    """

    directory: Path
    key_file: Path
    environment: dict[str, str]
    server: Child
    plane: Plane
    loop: Path


@dataclass(frozen=True, slots=True)
class Arena(Served):
    """A control plane with registered clients. `agents` are the processes of the fleet."""

    agents: tuple[Child, ...]
    clients: int

    def cpu_pids(self) -> list[int]:
        return [child.pid for child in (self.server, *self.agents)]

    def train(self, rounds: int, *, evaluate: bool = True, watch: Callable[[], None] = lambda: None) -> list[float]:
        """Run a new training with all clients, and return the seconds of each round. Calls `watch` while they run."""
        return self.trained(rounds, evaluate=evaluate, watch=watch)[0]

    def trained(
        self, rounds: int, *, evaluate: bool = True, watch: Callable[[], None] = lambda: None
    ) -> tuple[list[float], float]:
        """Run a new training as `train` does, and return the seconds of each round, and the server's CPU seconds.

        The CPU seconds are those from the start of the training to its end. The questions that follow, about what each
        round received, are not part of them.
        """
        body = {
            "name": "benchmark",
            "target_accuracy": 1.0,
            "max_rounds": rounds,
            "selection": {"min_clients": self.clients, "max_clients": self.clients},
            "round_policy": {"quorum": 1.0},
            "evaluation": {"clients": self.clients if evaluate else 0},
        }
        path = f"/v1/trainings/{self.plane.post('/v1/trainings', body)['id']}"
        before = cpu_seconds(self.server.pid)
        self.plane.post(f"{path}/start")
        while self.plane.get(path)["status"] not in ENDED:
            watch()
            time.sleep(WATCH_SECONDS)
        cpu = cpu_seconds(self.server.pid) - before
        finished = [self.plane.get(f"{path}/rounds/{number}") for number in range(1, rounds + 1)]
        for value in finished:
            received = sum(part["status"] == "received" for part in value["participations"])
            if value["status"] != "completed" or received != self.clients:
                raise Stuck(f"round {value['number']} is {value['status']} with {received} updates: {value}")
        return [_instant(value["ended_at"]) - _instant(value["started_at"]) for value in finished], cpu


@contextmanager
def served(
    *,
    server_url: str | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
    started: Callable[[int], None] | None = None,
    watch: str | None = None,
) -> Iterator[Served]:
    """Run a control plane without clients.

    Args:
        server_url: the URL of a Postgres server, on which a new database is made; None for an SQLite file.
        settings: settings of the control plane, as environment variables.
        started: called with the id of the process as soon as it exists.
        watch: the module that watches the event loop, `benchmarks.loop` or `benchmarks.beats`.

    Raises:
        Stuck: the control plane does not start in time.
        DemoFailed: its process has ended. The message has the last line of its output.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-bench-")))
        key_file = make_key(directory)
        port = free_port()
        database = None if server_url is None else stack.enter_context(_database(server_url))
        environment = stage.environment(directory)
        if database is not None:
            environment |= {"TCSFEEL_DATABASE__URL": database, "TCSFEEL_DATABASE__MIGRATE_ON_START": "true"}
        environment |= settings
        loop = directory / "loop"
        target = ("tcsfeel.cli:main",) if watch is None else (f"{watch}:main", str(loop))
        command = (*target, "serve", "--host", HOST, "--port", str(port))
        server = stack.enter_context(running("server", *command, directory=directory, environment=environment))
        if started is not None:
            started(server.pid)
        plane = Plane(f"http://{HOST}:{port}", key_file.read_text().strip(), check=server.check)
        wait_for(stack.enter_context(plane).is_ready)
        yield Served(directory, key_file, environment, server, plane, loop)


@contextmanager
def arena(
    *, clients: int, model_bytes: int, server_url: str | None = None, watch: str | None = None
) -> Iterator[Arena]:
    """Run a control plane with agents for this many clients. The other arguments and errors are those of `served`."""
    with served(server_url=server_url, settings=ONE_THREAD, watch=watch) as found, ExitStack() as stack:
        floats = str(math.ceil(model_bytes / BYTES_PER_FLOAT))
        agents = tuple(
            stack.enter_context(
                running(
                    f"agents-{share}", "benchmarks.fleet:main", found.plane.url, str(found.key_file), str(clients),
                    floats, str(share), str(AGENT_PROCESSES), directory=found.directory, environment=found.environment,
                )
            )
            for share in range(AGENT_PROCESSES)
        )  # fmt: skip

        def are_registered() -> bool:
            for child in agents:
                child.check()
            return len(found.plane.get("/v1/clients?limit=1000")["items"]) == clients

        wait_for(are_registered)
        if clients <= MOST_LINKED:
            positions = np.random.default_rng(0).uniform(0, SIDE, (clients, 2))
            costs = [[None if math.isinf(cost) else float(cost) for cost in row] for row in link_costs(positions)]
            names = [client_id(number) for number in range(clients)]
            found.plane.put("/v1/connectivity", {"client_ids": names, "costs": costs})
        yield Arena(
            found.directory,
            found.key_file,
            found.environment,
            found.server,
            found.plane,
            found.loop,
            agents,
            clients,
        )


@contextmanager
def databases(wanted: str) -> Iterator[dict[str, str | None]]:
    """Return the `server_url` of each wanted database by name: ``sqlite``, ``postgres``, or ``all`` that are found."""
    found: dict[str, str | None] = {} if wanted == "postgres" else {"sqlite": None}
    with ExitStack() as stack:
        if wanted != "sqlite":
            try:
                found["postgres"] = stack.enter_context(postgres.server())
            except postgres.ServerFailed as error:
                if wanted == "postgres":
                    raise
                print(f"without Postgres: {error}")
        yield found


@contextmanager
def _database(server_url: str) -> Iterator[str]:
    """Make a new database on a server, and drop it at the end."""
    name = f"tcsfeel_bench_{secrets.token_hex(6)}"

    async def order(statement: str) -> None:
        connection = await asyncpg.connect(server_url.replace("+asyncpg", "", 1))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(order(f"CREATE DATABASE {name}"))
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        asyncio.run(order(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def running(
    name: str, target: str, *arguments: str, directory: Path, environment: Mapping[str, str]
) -> Iterator[Child]:
    child = Child(name, target, *arguments, log=directory / f"{name}.log", environment=environment)
    try:
        yield child
    finally:
        child.let_go()
        child.wait()


def wait_for(is_up: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not is_up():
        if time.monotonic() > give_up:
            raise Stuck(f"not everything was up after {PATIENCE:.0f} s")
        time.sleep(LOOK_SECONDS)


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
