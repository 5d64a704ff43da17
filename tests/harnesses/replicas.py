"""Run replicas of the real server, each in a process of its own, with one database and one data directory.

A supervisor restarts replicas that have died, on the same port, which stays reserved meanwhile. A replica always ends
together with the harness.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.commands import serve
from tests.e2e.servers import unhandled
from tests.forking import fork, settle_in
from tests.harnesses import mutations
from tests.harnesses.api import Api
from tests.harnesses.faults import Faults, install
from tests.harnesses.strategies import offer

LOOK_SECONDS = 0.02
# Replicas that share an SQLite file write in turns, and wait for the disk. One that has waited too long on a slow
# machine says so, and tries again; the history shows whether anything was lost.
SHARED_FILE = "NoFreeConnection: other writers were busy for"


@dataclass(frozen=True, kw_only=True)
class Life:
    """The parameters of a process that becomes a replica."""

    name: str
    port: int
    log: Path
    environment: Mapping[str, str]
    faults: Faults | None
    mutant: str | None


def live(life: Life) -> None:
    """Run a replica until a signal ends it."""
    settle_in(life.log, life.environment)
    socket.gethostname = lambda: life.name  # since replicas of a real deployment have different hosts
    if life.mutant is not None:
        mutations.install(life.mutant)
    if life.faults is not None:
        install(life.faults)
    serve(["--host", "127.0.0.1", "--port", str(life.port)])


@dataclass
class Replica:
    """A replica, with the process that runs it now."""

    number: int
    reserved: socket.socket
    lives: int = 0
    process: Any = None
    stopped: bool = False
    restart: bool = True

    @property
    def port(self) -> int:
        port: int = self.reserved.getsockname()[1]
        return port

    @property
    def name(self) -> str:
        """Return the name of the current process, with which the owner of a lease begins."""
        return f"replica-{self.number}-{self.lives}-"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.exitcode is None

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the process. Returns False if there is no process."""
        if not self.alive:
            return False
        os.kill(self.process.pid, number)
        return True


@dataclass
class Replicas:
    """The replicas of a run. `ends` counts the exit statuses of the processes that have ended."""

    directory: Path
    database_url: str
    count: int = 3
    faults: Faults | None = None
    mutant: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ends: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.key = secrets.token_urlsafe(24)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._path = offer(self.directory / "packages")
        self.all = [Replica(number, _reserved()) for number in range(self.count)]

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def log(self, replica: Replica) -> Path:
        return self.directory / f"replica-{replica.number}.log"

    def start(self, replica: Replica) -> None:
        replica.lives += 1
        faults = self.faults and replace(self.faults, seed=f"{self.faults.seed} {replica.name}")
        life = Life(
            name=replica.name[:-1],
            port=replica.port,
            log=self.log(replica),
            environment=self.environment_of(),
            faults=faults,
            mutant=self.mutant,
        )
        replica.process = fork(live, life)

    async def supervise(self) -> None:
        """Restart replicas that have died, until cancelled."""
        while True:
            for replica in self.all:
                if replica.process is not None and not replica.alive:
                    self.ends[replica.process.exitcode] += 1
                    replica.process.close()
                    replica.process = None
                    if replica.restart:
                        self.start(replica)
            await asyncio.sleep(LOOK_SECONDS)

    async def freeze(self, replica: Replica, seconds: float) -> None:
        """Stop a process from outside for some seconds. Its clocks go on, so it can notice that afterwards."""
        process = replica.process
        if replica.stopped or not replica.signal(signal.SIGSTOP):
            return
        replica.stopped = True
        try:
            await asyncio.sleep(seconds)
        finally:
            replica.stopped = False
            if replica.process is process:
                replica.signal(signal.SIGCONT)

    def kill_all(self) -> None:
        for replica in self.all:
            if replica.process is not None:
                replica.process.kill()
                replica.process.join()
                replica.process.close()
                replica.process = None
            replica.reserved.close()

    def api(self) -> Api:
        return Api([f"http://127.0.0.1:{replica.port}" for replica in self.all], self.key)

    def unhandled(self) -> list[str]:
        """List lines of the logs that show an unhandled error."""
        lines = [f"{log.name}: {line}" for log in sorted(self.directory.glob("*.log")) for line in unhandled(log)]
        return [line for line in lines if SHARED_FILE not in line]

    def lines(self, word: str) -> int:
        """Count the lines of the logs with a word."""
        return sum(
            line.count(word) > 0 for log in self.directory.glob("*.log") for line in log.read_text().splitlines()
        )

    def environment_of(self) -> dict[str, str]:
        """Return the environment of every replica."""
        return {
            "PYTHONPATH": str(self._path),
            "TCSFEEL_DATA_DIR": str(self.data),
            "TCSFEEL_DATABASE__URL": self.database_url,
            "TCSFEEL_DATABASE__POOL_SIZE": "5",
            "TCSFEEL_AUTH__ADMIN_KEY": self.key,
            "TCSFEEL_AGENTS__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
            "TCSFEEL_COORDINATOR__LEASE_SECONDS": "1",
            "TCSFEEL_COORDINATOR__TICK_SECONDS": "0.05",
            "TCSFEEL_HEALTH__INTERVAL_SECONDS": "3600",  # the agents send no heartbeats, and are always there
            **self.environment,
        }


@asynccontextmanager
async def running(replicas: Replicas) -> AsyncIterator[Api]:
    """Run the replicas in the block, and restart those that die."""
    supervisor: asyncio.Task[None] | None = None
    try:
        for replica in replicas.all:
            replicas.start(replica)
        supervisor = asyncio.create_task(replicas.supervise())
        async with replicas.api() as api:
            await api.call("GET", "/readyz")
            yield api
    finally:
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)
        replicas.kill_all()


@contextlib.contextmanager
def switched_on(faults: Faults) -> Iterator[Callable[[], None]]:
    """Let faults happen in the block, or until the function that it returns is called."""

    def off() -> None:
        faults.switch.unlink(missing_ok=True)

    faults.switch.touch()
    try:
        yield off
    finally:
        off()


def _reserved() -> socket.socket:
    """Reserve a port, so that no other process gets it while no replica listens on it."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved
