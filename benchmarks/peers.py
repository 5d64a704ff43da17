"""Run what our rounds are compared with, in processes of its own.

Flower has a virtual environment: its gRPC server, and its SuperLink deployment. Its clients do the same as those of
`benchmarks.fleet`, in as many processes and with the same niceness. The floor is a plain protocol (`benchmarks.floor`).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.demo.stage import HOST, ONE_THREAD, free_port
from benchmarks.arena import AGENT_PROCESSES, Stuck, running, wait_for
from benchmarks.fleet import NICENESS
from benchmarks.machine import Usage, cpu_seconds

HOME = Path(__file__).parent / "flower"
PYTHON = Path(__file__).parents[1] / "build" / "flower" / "bin" / "python"
MISSING = "Flower is not installed, so only ours is measured; `make flower` installs it into build/flower"
ANSWERING = ("flower-server", "floor")  # processes that tell of each round
GRACE = 20.0  # seconds for a process to end
PATIENCE = 300.0  # seconds for the rounds of a SuperLink
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of some rounds: the seconds of each, and the server's mean CPU seconds for one."""

    seconds: list[float]
    cpu: float


@dataclass(frozen=True, slots=True)
class Peer:
    """Flower's ``start_server``, or the floor. `pids` are its process and those of its clients."""

    process: "subprocess.Popen[str]"
    clients: int
    pids: list[int]

    def train(self, rounds: int) -> Cost:
        """Run this many more rounds. Raises `Stuck`."""
        before = cpu_seconds(self.process.pid)
        seconds = [self._round() for _ in range(rounds)]
        return Cost(seconds, (cpu_seconds(self.process.pid) - before) / rounds)

    def peak(self) -> float:
        """Return the memory in MB at its peak."""
        return Usage.of(self.process.pid).peak

    def _round(self) -> float:
        if self.process.stdin is None or self.process.stdout is None:
            raise Stuck("a peer has no pipes")
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return _seconds(self.process.stdout.readline(), self.clients)


@contextmanager
def grpc_server(python: Path, *, clients: int, floats: int, directory: Path) -> Iterator[Peer]:
    """Run Flower's gRPC server with this many clients. Logs go to `directory`. Raises `Stuck`."""
    address = f"{HOST}:{free_port()}"
    with ExitStack() as stack:
        command = [str(python), str(HOME / "grpc_server.py"), address, str(clients), str(floats)]
        server = stack.enter_context(_running("flower-server", command, directory))
        pids = [server.pid]
        for share in range(AGENT_PROCESSES):
            numbers = (clients, floats, share, AGENT_PROCESSES, NICENESS)
            command = [str(python), str(HOME / "grpc_clients.py"), address, *map(str, numbers)]
            pids.append(stack.enter_context(_running(f"flower-clients-{share}", command, directory)).pid)
        yield Peer(server, clients, pids)


@contextmanager
def floor(*, clients: int, size: int, directory: Path) -> Iterator[Peer]:
    """Run the floor with plain agents for this many clients. Logs go to `directory`. Raises `Stuck`."""
    ours = {"PYTHONPATH": str(HOME.parents[1])}
    with ExitStack() as stack:
        ports, pids = [free_port() for _ in range(AGENT_PROCESSES)], []
        for port in ports:
            arguments = ("benchmarks.plain_agents:main", str(port), str(size), str(NICENESS))
            agents = running(f"plain-agents-{port}", *arguments, directory=directory, environment=environment(ours))
            pids.append(stack.enter_context(agents).pid)
            wait_for(lambda: _listens(port))  # noqa: B023  (it is called here)
        command = [sys.executable, "-m", "benchmarks.floor", str(clients), str(size), *map(str, ports)]
        process = stack.enter_context(_running("floor", command, directory, ours))
        yield Peer(process, clients, [process.pid, *pids])


def superlink_rounds(python: Path, *, clients: int, floats: int, rounds: int, directory: Path) -> list[float]:
    """Return the seconds of each round with a SuperLink and a SuperNode for each client. Raises `Stuck`."""
    port, results = free_port(), directory / "superlink.jsonl"
    address = f"{HOST}:{port}"
    home = directory / "flower-home"
    home.mkdir()
    connection = f'[superlink]\ndefault = "local"\n[superlink.local]\naddress = "{address}"\ninsecure = true\n'
    (home / "config.toml").write_text(connection)
    tools, leash = python.parent, [str(python), str(HOME / "leash.py")]
    settings = {"FLWR_HOME": str(home), "PATH": os.pathsep.join([str(tools), os.environ.get("PATH", "")])}
    with ExitStack() as stack:
        command = [str(tools / "flower-superlink"), "--insecure", "--host", HOST, "--port", str(port)]
        command.append("--disable-runtime-dependency-installation")
        stack.enter_context(_running("superlink", [*leash, *command], directory, settings))
        for number in range(clients):
            command = [str(tools / "flower-supernode"), "--insecure", "--superlink", address]
            command += ["--host", HOST, "--port", str(free_port())]
            stack.enter_context(_running(f"supernode-{number}", [*leash, *command], directory, settings))
        config = f'clients={clients} floats={floats} rounds={rounds} results="{results}"'
        command = [str(tools / "flwr"), "run", str(HOME / "superlink"), "local", "--run-config", config]
        give_up = time.monotonic() + PATIENCE
        while subprocess.run(command, env=environment(settings), capture_output=True, check=False).returncode != 0:  # noqa: S603  (ours)
            _still_before(give_up, "flwr run does not reach the SuperLink")
        while not results.exists() or results.read_text().count("\n") < rounds:
            _still_before(give_up, f"the SuperLink has not run {rounds} rounds")
    return [_seconds(line, clients) for line in results.read_text().splitlines()]


@contextmanager
def _running(
    name: str, command: list[str], directory: Path, settings: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that ends when its stdin is closed."""
    with (directory / f"{name}.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603  (the benchmark's own command)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if name in ANSWERING else log,
            stderr=log,
            env=environment(settings or {}),
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of such a process."""
    return {**os.environ, **ONE_THREAD, "FLWR_TELEMETRY_ENABLED": "0", **settings}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _still_before(give_up: float, problem: str) -> None:
    if time.monotonic() > give_up:
        raise Stuck(f"{problem} after {PATIENCE:.0f} s")
    time.sleep(LOOK_SECONDS)


def _seconds(line: str, clients: int) -> float:
    """Return the seconds of a round. Raises `Stuck` if an update of a client is missing."""
    outcome = json.loads(line) if line else {}
    if outcome.get("updates") != clients:
        raise Stuck(f"of {clients} clients not all came back: {line.strip() or 'the server has ended'}")
    return float(outcome["seconds"])
