"""The control plane as its users run it: a process of its own, on a real socket."""

import asyncio
import os
import re
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx2

from tcsfeel.certificates import trusted
from tcsfeel.cli import main
from tcsfeel.rest.deadlines import limits
from tests.forking import fork, settle_in

PATIENCE = 120.0  # seconds, for machines that are busy with something else
# For tests that kill the server. In others, a server that a busy machine stops for a second would lose its trainings.
TAKEN_OVER_SOON = {"TCSFEEL_COORDINATOR__LEASE_SECONDS": "1"}
# So that no limit of a rate answers in place of an operation.
UNLIMITED = {
    "TCSFEEL_REFUSALS_PER_SECOND": "1000000",
    "TCSFEEL_LIMITS__REQUESTS_PER_SECOND": "1000000",
    "TCSFEEL_LIMITS__AGENT_REQUESTS_PER_SECOND": "1000000",
    "TCSFEEL_LIMITS__ADDRESS_REQUESTS_PER_SECOND": "1000000",
}


def free_port() -> int:
    """Return a port on which no process listens. It is below those that outgoing connections take in the meantime."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port


def serve(port: int) -> None:
    """Do what the command does."""
    _run(["serve", "--port", str(port)])


def serve_anew(port: int) -> None:
    """Do what the command does in an interpreter that reads its environment when it starts."""
    program = "from tcsfeel.cli import main; main()"
    os.execv(sys.executable, [sys.executable, "-P", "-c", program, "serve", "--port", str(port)])  # noqa: S606  (the command is ours)


def live(log: Path, environment: Mapping[str, str], program: Callable[[], None]) -> None:
    """Run the program of a server in a process of its own."""
    settle_in(log, environment)
    program()


class Server:
    """`tcsfeel serve` on one port, which can be killed and started again.

    `ca_file` is that of the authority of its certificate, if it has one.
    """

    ca_file: Path | None = None

    def __init__(self, directory: Path, database_url: str, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = secrets.token_urlsafe(24)
        self.log = directory / "server.log"
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONWARNINGS": "error",
            "TCSFEEL_DATA_DIR": str(directory / "data"),
            "TCSFEEL_DATABASE__URL": database_url,
            "TCSFEEL_AUTH__ADMIN_KEY": self.key,
            "TCSFEEL_AGENTS__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
            **environment,
        }
        self._process: ForkServerProcess | None = None

    async def start(self) -> None:
        """Return once it is ready."""
        self.log.touch()
        self._process = fork(live, self.log, self.environment, self.program)
        async with asyncio.timeout(PATIENCE), httpx2.AsyncClient(verify=trusted(self.ca_file)) as http:
            while True:
                assert self._process.exitcode is None, self.log.read_text()
                try:
                    if (await http.get(f"{self.url}/readyz")).is_success:
                        return
                except httpx2.TransportError:
                    pass
                await asyncio.sleep(0.05)

    @property
    def program(self) -> Callable[[], None]:
        """What its process runs."""
        return partial(serve_anew if "LD_PRELOAD" in self.environment else serve, self.port)

    @property
    def pid(self) -> int:
        """Of the process while it runs."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        """``kill -9``."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """``SIGTERM``; gives the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        if process.exitcode is None:
            os.kill(self.pid, number)
            process.join(PATIENCE)
        status = process.exitcode
        if status is None:
            raise TimeoutError(f"the server did not end within {PATIENCE:g} s")
        process.close()
        self._process = None
        return status

    def api(self) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx2.AsyncClient(
            base_url=self.url, headers=headers, limits=limits(), timeout=PATIENCE, verify=trusted(self.ca_file)
        )


def _run(arguments: Sequence[str]) -> None:
    sys.argv = ["tcsfeel", *arguments]
    main()


def started(log: Path, environment: Mapping[str, str], *arguments: str) -> ForkServerProcess:
    """Start `tcsfeel` with some arguments in a process of its own."""
    return fork(live, log, environment, partial(_run, arguments))


async def command(directory: Path, environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """Run `tcsfeel` with some arguments, and return its status and what it printed."""
    output = directory / f"{secrets.token_hex(4)}.out"
    process = started(output, environment, *arguments)
    await asyncio.to_thread(process.join, PATIENCE)
    status = process.exitcode
    if status is None:
        process.kill()
        raise TimeoutError(f"tcsfeel {' '.join(arguments)} did not end within {PATIENCE:g} s: {output.read_text()}")
    process.close()
    return status, output.read_text()


@asynccontextmanager
async def server(directory: Path, database_url: str, **environment: str) -> AsyncIterator[Server]:
    started = Server(directory, database_url, **environment)
    await started.start()
    try:
        yield started
    finally:
        started.kill()


async def call(api: httpx2.AsyncClient, method: str, path: str, **kwargs: Any) -> Any:
    """The body of an answer that must be a success."""
    response = await api.request(method, path, **kwargs)
    assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
    return response.json() if response.content else None


def unhandled(log: Path) -> list[str]:
    """Lines of a server's log that nobody wants to see."""
    return unhandled_in(log.read_text())


def unhandled_in(log: str) -> list[str]:
    """Those lines of a log that tell of an error. A traceback is told by the line before it, and its last one."""
    lines = log.splitlines()
    found = []
    for number, line in enumerate(lines):
        if line.startswith("Traceback"):
            last = next((one for one in lines[number + 1 :] if not one.startswith(" ")), "")
            found.append(f"{lines[number - 1] if number else ''}: {line} {last}")
        elif re.search(r'Traceback|\[error|"level": "error"|unforeseen', line):
            found.append(line)
    return found
