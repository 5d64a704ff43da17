"""Run a Postgres server that can be stopped like in a crash, and started again with the same data and port.

Commits wait for the kernel and not for the disk. So what the server has acknowledged survives the end of its processes,
as it would survive a crash of the machine with `fsync` on.
"""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests import postgres

_OPTIONS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "synchronous_commit=on",
    "timezone=UTC",
)
# The server ends when our end of its standard input closes, however we end. $0 is not used, the rest is the command.
_GUARDED = """
exec 3<&0 </dev/null
{ read -r _ <&3; kill -QUIT $$; } 2>/dev/null &
exec 3<&- "$@"
"""


class Postgres:
    """A data directory, with a server while it runs."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._identity = postgres._identity()
        self._binaries = postgres._reachable(postgres._binaries(), home, self._identity)
        self._data = home / "data"
        self._port = postgres._free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self._port}/postgres"

    @property
    def log(self) -> str:
        return (self._home / "server.log").read_text(errors="replace")

    def create(self) -> None:
        self._call("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        options = [word for option in _OPTIONS for word in ("-c", option)]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self._port), *options]
        self._process = self._begin("/bin/sh", "-c", _GUARDED, "guard", *command)
        if not postgres._became_ready(self._process, self._data / "postmaster.pid"):
            raise postgres.ServerFailed(f"the server did not start:\n{self.log}")

    def stop_immediately(self) -> None:
        """Stop the server like a crash: nothing is flushed, and the next start recovers from the log."""
        self._call("pg_ctl", "stop", "-m", "immediate")
        self._wait()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop_immediately()

    def _wait(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _call(self, program: str, *arguments: str) -> None:
        process = self._begin(str(self._binaries / program), "-D", str(self._data), *arguments)
        process.communicate()
        if process.returncode != 0:
            raise postgres.ServerFailed(f"{program} failed:\n{self.log}")

    def _begin(self, *command: str) -> subprocess.Popen[bytes]:
        with (self._home / "server.log").open("ab") as output:
            return subprocess.Popen(  # noqa: S603  (our own arguments)
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                env={"PATH": f"{self._binaries}:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,
                **self._identity,
            )


@asynccontextmanager
async def postgres_server() -> AsyncIterator[Postgres]:
    """Run a server with its files in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="tcsfeel-postgres-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        if identity := postgres._identity():
            os.chown(home, identity["user"], identity["group"])
        server = await asyncio.to_thread(Postgres, home)
        try:
            await asyncio.to_thread(server.create)
            await asyncio.to_thread(server.start)
            yield server
        finally:
            await asyncio.to_thread(server.close)
