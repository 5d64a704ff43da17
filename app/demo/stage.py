"""The processes and files of a demo: set up from nothing, and gone at the end."""

import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.demo.errors import DemoFailed
from app.demo.leash import Child
from app.demo.plane import Plane

AGENT_PROCESSES = 2
HOST = "127.0.0.1"
START_SECONDS = 60.0  # until everything is up and registered
LOOK_SECONDS = 0.1
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # for matrices not worth a second one


@dataclass(frozen=True, slots=True)
class Stage:
    """A control plane that runs, with agents that are registered."""

    key_file: Path
    plane: Plane
    children: tuple[Child, ...]

    def check(self) -> None:
        """Raises `DemoFailed` where a process has ended."""
        for child in self.children:
            child.check()


@contextmanager
def data_directory(*, keep: bool) -> Iterator[Path]:
    """A fresh directory; gone after the block, unless kept."""
    directory = Path(tempfile.mkdtemp(prefix="tcsfeel-demo-"))
    try:
        yield directory
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def stage(directory: Path, *, seed: int, agents: int) -> Iterator[Stage]:
    """Inside the block everything is up; after it every process has ended.

    Raises:
        DemoFailed: something did not come up.
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
        for share in range(AGENT_PROCESSES):
            numbers = (seed, agents, share, AGENT_PROCESSES)
            children.append(
                Child(
                    f"process {share + 1} of the agents",
                    "app.demo.fleet:main",
                    *(url, str(key_file), *map(str, numbers)),
                    log=directory / f"agents-{share + 1}.log",
                    environment=settings,
                )
            )
        with Plane(url, key_file.read_text().strip(), check=children[0].check) as plane:
            found = Stage(key_file, plane, tuple(children))
            _wait_until_up(found, agents)
            yield found
    finally:
        for child in reversed(children):
            child.let_go()
        for child in children:
            child.wait()


def _wait_until_up(found: Stage, agents: int) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not (found.plane.is_ready() and len(found.plane.get("/v1/clients?limit=1000")["items"]) == agents):
        found.check()
        if time.monotonic() > give_up:
            raise DemoFailed(f"not everything was up after {START_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def make_key(directory: Path) -> Path:
    """Give the control plane whose data directory this is an admin key; the file that holds it."""
    key_file = directory / "admin-key"  # where the control plane looks for it
    key_file.touch(mode=0o600)
    key_file.write_text(secrets.token_urlsafe(32) + "\n")
    return key_file


def environment(directory: Path) -> dict[str, str]:
    """This process's environment, with settings for a control plane with this data directory in place of any other."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("TCSFEEL_")}
    return inherited | {
        "TCSFEEL_DATA_DIR": str(directory),
        "TCSFEEL_AGENTS__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def free_port() -> int:
    """A port of `HOST` that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
