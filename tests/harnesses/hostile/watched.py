"""Run the server that is attacked, and read from outside what it uses.

It is one process, or two that share a database and the models: one serves the API, and the other one drives the
trainings. The latter then has the server's core, and the former runs beside the fleet.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from benchmarks import beats
from benchmarks.beats import holds
from tests.e2e.servers import Server
from tests.harnesses.databases import new_database
from tests.harnesses.hostile import placement
from tests.harnesses.hostile.afterwards import spooled
from tests.harnesses.hostile.fleets import BEAT_SECONDS
from tests.harnesses.hostile.outcome import Outcome, Period
from tests.harnesses.strategies import offer

ENVIRONMENT = {
    "TCSFEEL_COORDINATOR__LEASE_SECONDS": "15",
    "TCSFEEL_HEALTH__INTERVAL_SECONDS": str(2 * BEAT_SECONDS),
    "TCSFEEL_AGENTS__CONNECT_SECONDS": "2",
    "TCSFEEL_AGENTS__READ_SECONDS": "5",
    "TCSFEEL_AGENTS__POLL_SECONDS": "2",
    "TCSFEEL_LOG__FORMAT": "json",
    "TCSFEEL_MAX_BODY_BYTES": "24000000",  # so that two long bodies use all of the memory
}
API_ONLY = {"TCSFEEL_COORDINATOR__ENABLED": "false"}
STOPPED = {0, -15}  # the statuses of a process that stopped when it was told to


def _serve(core: int | None, nice: int, file: Path, port: int) -> None:
    placement.take(core, nice=nice)
    sys.argv = ["beats", str(file), str(port)]
    beats.main()


class Watched(Server):
    """A process of a server, with an event loop that is watched.

    Attributes:
        core: the core that it has for itself; None if it has none.
        nice: how much lower than usual its priority is.
        honest: the port of its honest agents.
        driver: the process that drives the trainings; None if it is this one.
    """

    core: int | None = None
    nice: int = 0
    honest: int = 0
    driver: "Watched | None" = None

    @property
    def data(self) -> Path:
        return Path(self.environment["TCSFEEL_DATA_DIR"])

    @property
    def program(self) -> Callable[[], None]:
        return partial(_serve, self.core, self.nice, self._holds, self.port)

    @property
    def _holds(self) -> Path:
        return self.log.with_name("holds")

    def processes(self) -> "list[Watched]":
        """Return the processes of this server."""
        return [self] if self.driver is None else [self.driver, self]

    def holds(self, period: Period) -> Iterator[float]:
        """Yield the seconds of each hold of an event loop in a period."""
        for process in self.processes():
            yield from (hold.seconds for hold in holds(process._holds, period.start, period.end))

    def disk(self) -> int:
        """Return the bytes of its model files and spools."""
        return sum(spooled(process.data) for process in self.processes())

    def left(self) -> int:
        """Return the bytes of its spools that belong to a round. Spare files belong to none."""
        return sum(spooled(process.data, spare=False) for process in self.processes())

    def processor(self) -> float:
        """Return the seconds of processor time that the server has used."""
        ticks = 0
        for process in self.processes():
            stat = (Path("/proc") / str(process.pid) / "stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(stat[11]) + int(stat[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Return its bytes of anonymous memory."""
        total = 0
        for process in self.processes():
            status = (Path("/proc") / str(process.pid) / "status").read_text()
            total += int(dict(line.split(":", 1) for line in status.splitlines())["RssAnon"].split()[0]) * 1024
        return total

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return sum(1 for process in self.processes() for _ in (Path("/proc") / str(process.pid) / "fd").iterdir())


@asynccontextmanager
async def running(
    directory: Path, database: str | None, core: int | None, outcome: Outcome, *, apart: bool = False, nice: int = 0
) -> AsyncIterator[Watched]:
    """Run a server in the block, and put its log and status into the outcome. `apart` runs it as two processes."""
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (before anything runs)
    path = offer(directory / "packages")
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(path), str(Path.cwd())])}
    async with new_database(database, directory / "database") as url:
        server = driver = Watched(directory, url, **environment)
        if apart:
            driver = server.driver = Watched(_made(directory / "driver"), url, **environment)
            driver.environment["TCSFEEL_AUTH__ADMIN_KEY"] = server.key
            driver.environment["TCSFEEL_MODELS__URL"] = (server.data / "models").as_uri()
            server.environment |= API_ONLY
            server.nice = placement.BESIDE
        driver.core = core
        driver.nice = nice
        for process in server.processes():
            await process.start()
        try:
            yield server
        finally:
            statuses = [await asyncio.to_thread(_stop, process) for process in reversed(server.processes())]
            outcome.status = next((status for status in statuses if status not in STOPPED), 0)
            outcome.log = "".join(process.log.read_text(errors="replace") for process in server.processes())


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _stop(server: Server) -> int:
    """Stop a process, by force if it does not react."""
    try:
        return server.stop()
    except TimeoutError:
        server.kill()
        return -9
