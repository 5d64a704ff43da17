"""Start the processes of a demo and make its files, and remove all of them at the end."""

import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.demo.errors import DemoFailed
from app.demo.leash import Child
from app.demo.plane import Plane

AGENT_PROCESSES = 2
HOST = "127.0.0.1"
START_SECONDS = 60.0  # the longest time until everything runs and is registered
LOOK_SECONDS = 0.1
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # the matrices are too small for a second one


@dataclass(frozen=True, slots=True)
class Stage:
    """A running control plane with registered agents."""

    key_file: Path
    plane: Plane
    children: tuple[Child, ...]

    def check(self) -> None:
        """Raise `DemoFailed` if a process has ended."""
        for child in self.children:
            child.check()


@contextmanager
def data_directory(*, keep: bool) -> Iterator[Path]:
    """Make a new directory. It is removed after the block, unless it is kept."""
    directory = Path(tempfile.mkdtemp(prefix="tcsfeel-demo-"))
    try:
        yield directory
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def stage(
    directory: Path, *, seed: int, agents: int, transport: str = "push", links: str = "modelled", slower: float = 1.0
) -> Iterator[Stage]:
    """Start everything for the block. After the block, all processes have ended.

    With the `transport` ``push`` the control plane calls the agents, and with ``pull`` they ask it for their tasks.
    With `links` that are ``shaped``, models travel at the speeds of the devices' links. `slower` is that of `World.of`.

    Raises:
        DemoFailed: something did not start.
    """
    children: list[Child] = []
    try:
        key_file = make_key(directory)
        port = free_port()
        url = f"http://{HOST}:{port}"
        settings = environment(directory) | ONE_THREAD | {"TCSFEEL_LOG__LEVEL": "warning"}
        children.append(
            Child(
                "the control plane",
                "tcsfeel.cli:main",
                *("serve", "--host", HOST, "--port", str(port)),
                log=directory / "control-plane.log",
                environment=settings,
            )
        )
        with Plane(url, key_file.read_text().strip(), check=children[0].check) as plane:
            _wait(children, plane.is_ready)
            secret = _invitation(plane, directory, agents) if transport == "pull" else key_file
            for share in range(AGENT_PROCESSES):
                numbers = (seed, agents, share, AGENT_PROCESSES)
                children.append(
                    Child(
                        f"process {share + 1} of the agents",
                        "app.demo.fleet:main",
                        *(url, str(secret), transport, links, str(slower), *map(str, numbers)),
                        log=directory / f"agents-{share + 1}.log",
                        environment=settings,
                    )
                )
            _wait(children, lambda: len(plane.get("/v1/clients?limit=1000")["items"]) == agents)
            yield Stage(key_file, plane, tuple(children))
    finally:
        for child in reversed(children):
            child.let_go()
        for child in children:
            child.wait()


def _wait(children: Sequence[Child], is_up: Callable[[], bool]) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not is_up():
        for child in children:
            child.check()
        if time.monotonic() > give_up:
            raise DemoFailed(f"not everything was up after {START_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def _invitation(plane: Plane, directory: Path, agents: int) -> Path:
    """Invite the agents, and return the path of a file with the secret of the invitation."""
    file = directory / "invitation"
    file.touch(mode=0o600)
    file.write_text(plane.post("/v1/invitations", {"uses": agents})["secret"] + "\n")
    return file


def make_key(directory: Path) -> Path:
    """Make an admin key for the control plane with this data directory, and return the path of its file."""
    key_file = directory / "admin-key"  # the file in which the control plane looks for its key
    key_file.touch(mode=0o600)
    key_file.write_text(secrets.token_urlsafe(32) + "\n")
    return key_file


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of this process with the settings of a control plane with this data directory."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("TCSFEEL_")}
    return inherited | {
        "TCSFEEL_DATA_DIR": str(directory),
        "TCSFEEL_AGENTS__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def free_port() -> int:
    """Return a port of `HOST` on which no process listens now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
