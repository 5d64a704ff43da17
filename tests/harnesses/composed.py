"""Run the services of a Compose file without an engine: the same programs, with the values of the file.

An address such as ``store:8333`` becomes a port of this machine, a network of the file becomes the loopback network,
and a path in a container becomes that of its volume. Postgres is the one that the tests find; an S3 server of the tests
stands in for the store. Everything else is started with the command and the environment that the file gives it.
"""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx2
import yaml
from moto.server import ThreadedMotoServer
from sqlalchemy.engine import make_url

from tcsfeel.certificates import trusted
from tests import databases, postgres
from tests.e2e.servers import free_port
from tests.rpc.callers import call

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose"
PROGRAMS = Path(sys.executable).parent
ANY = "0.0.0.0"  # noqa: S104  (of containers; here it becomes the loopback address)
# What the images set, and the paths of their volumes.
IMAGES = {
    "tcsfeel": ({"TCSFEEL_DATA_DIR": "/data"}, ["tcsfeel"], ["serve", "--host", ANY], "/data"),
    "tcsfeel-agent": ({"XDG_STATE_HOME": "/state"}, ["tcsfeel", "agent"], [], "/state"),
}
VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::\?[^}]*)?\}")
ADDRESS = re.compile(r"\b([a-z]+(?:-[0-9])?):([0-9]{4,5})\b")
ON_FAILURE = re.compile(r"on-failure:(\d+)")
FIRST_PAUSE = 0.1  # seconds before a service that has failed is started again
STOP_SECONDS = 30.0


class Missing(Exception):
    """This machine lacks a program that the topology needs. The message names it."""


class Composed:
    """The services of a prepared copy of the Compose file, of which some run as processes."""

    def __init__(self, directory: Path, addresses: Mapping[str, str], database_url: str) -> None:
        self.directory = directory
        self.files = directory / "compose"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.database_url = database_url
        self._addresses = addresses
        self.secrets = dict(
            line.split("=", 1) for line in (self.files / ".env").read_text().splitlines() if not line.startswith("#")
        )
        self._file: dict[str, Any] = yaml.safe_load((self.files / "compose.yaml").read_text())

    @property
    def services(self) -> dict[str, Any]:
        found: dict[str, Any] = self._file["services"]
        return found

    def address(self, name: str) -> str:
        """Return where a service listens on this machine, such as 127.0.0.1:40000.

        `name` is that of the service, or of one of its ports, such as ``proxy:50051``.
        """
        return next(real for named, real in self._addresses.items() if name in {named, named.partition(":")[0]})

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def start(self, name: str) -> None:
        """Start a service, and return at once."""
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603  (the file is ours)
                self.command(name), env=self.environment(name), cwd=self._home(name), stdout=log, stderr=log
            )

    def check(self) -> None:
        """Raise `RuntimeError` if a service that should run has ended."""
        for name, process in self.processes.items():
            if (status := process.poll()) is not None:
                raise RuntimeError(f"{name} ended with {status}:\n{self.log(name).read_text()[-3000:]}")

    def run(self, name: str) -> None:
        """Run a service to its end, and again if it fails, as its policy says. Raises `RuntimeError` if it fails."""
        policy = ON_FAILURE.fullmatch(self.services[name].get("restart", ""))
        status, pause = 1, FIRST_PAUSE
        for again in range(1 + (int(policy[1]) if policy else 0)):
            if again:
                time.sleep(pause)
                pause *= 2  # as the engine does it
            self.start(name)
            if (status := self.processes.pop(name).wait(STOP_SECONDS * 4)) == 0:
                break
        if status:
            raise RuntimeError(f"{name} ended with {status}:\n{self.log(name).read_text()[-3000:]}")

    def kill(self, name: str) -> None:
        """Send SIGKILL to a service, and wait until it is gone."""
        process = self.processes.pop(name)
        process.kill()
        process.wait(STOP_SECONDS)

    def stop_all(self) -> None:
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)
        self.processes.clear()

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a service, as its image and the file set it."""
        given = {**self._image(name)[0], **(self.services[name].get("environment") or {})}
        own = {variable: self.in_its_place(name, str(value)) for variable, value in given.items()}
        if "TCSFEEL_DATABASE__URL" in own:
            own["TCSFEEL_DATABASE__URL"] = self.database_url
        return {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": "/nonexistent", "PYTHONWARNINGS": "error", **own}

    def command(self, name: str) -> list[str]:
        """Return the command of a service."""
        service, (_, entry, default, _) = self.services[name], self._image(name)
        words = [*(service.get("entrypoint") or entry), *(service.get("command") or default)]
        found = [self.in_its_place(name, word) for word in words]
        port = self._own_port(name)
        if found[:2] == ["tcsfeel", "serve"]:
            found += ["--port", port, "--grpc-port", self.address(f"{name}:50051").rpartition(":")[2]]
        elif "--port" in found:  # that of a container, which has a network of its own
            found[found.index("--port") + 1] = port
            found += ["--host", "127.0.0.1"]
        return found

    def configuration(self, file: str) -> str:
        """Return a configuration file with the addresses and the paths of this machine."""
        text = self._replaced((self.files / file).read_text())
        return text.replace("/certificates/", f"{self.files}/certificates/")

    def _image(self, name: str) -> tuple[dict[str, str], list[str], list[str], str]:
        return IMAGES.get(self.services[name]["image"].partition(":")[0], ({}, [], [], ""))

    def _own_port(self, name: str) -> str:
        return next((real.rpartition(":")[2] for at, real in self._addresses.items() if at.startswith(f"{name}:")), "0")

    def _home(self, name: str) -> Path:
        """Make the directory in which a service begins, with the files that are mounted there."""
        home = self.directory / "homes" / name
        home.mkdir(parents=True, exist_ok=True)
        for source, target in self._mounts(name).items():
            if target.startswith("/trainer/"):
                shutil.copy(source, home / Path(target).name)
        return home

    def _mounts(self, name: str) -> dict[str, str]:
        """Return the paths in the container by their sources on this machine."""
        found = {}
        for volume in self.services[name].get("volumes", []):
            source, target, *_ = volume.split(":")
            here = self.files / source if source.startswith(".") else self.directory / "volumes" / source
            if not source.startswith("."):
                here.mkdir(mode=0o700, parents=True, exist_ok=True)
            found[str(here)] = target
        own = self._image(name)[3]
        if own and own not in found.values():
            place = self.directory / "volumes" / f"{name}-own"
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            found[str(place)] = own
        return found

    def in_its_place(self, name: str, text: str) -> str:
        """Return a text of a service with the secrets, addresses and paths of this machine."""
        filled = VARIABLE.sub(lambda match: "$" if match[0] == "$$" else self.secrets[match[1]], text)
        for source, target in sorted(self._mounts(name).items(), key=lambda mount: -len(mount[1])):
            filled = re.sub(rf"(?<![\w./]){re.escape(target)}(?=/|\b)", source, filled)
        return self._replaced(filled)

    def _replaced(self, text: str) -> str:
        text = ADDRESS.sub(lambda match: self._addresses.get(match[0], match[0]), text)
        text = re.sub(r"172\.30\.[01]\.0/24", "127.0.0.0/8", text)
        return re.sub(r"172\.30\.[01]\.10\b", "127.0.0.1", text).replace(ANY, "127.0.0.1")


@contextmanager
def composed(directory: Path, *, server: str | None = None) -> Iterator[Composed]:
    """Prepare a copy of the Compose file, and start its database and its store.

    `server` is the URL of a Postgres server that runs already. Raises `Missing` if a program is not there.
    """
    for program in ("haproxy", "openssl", "curl"):
        if shutil.which(program) is None:
            raise Missing(f"there is no {program} on this machine")
    shutil.copytree(COMPOSE, directory / "compose", ignore=shutil.ignore_patterns(".env", "certificates"))
    subprocess.run([directory / "compose" / "prepare"], check=True, capture_output=True)  # noqa: S603  (ours)
    shutil.copytree(DEPLOY / "prometheus", directory / "prometheus")
    listening = [f"{name}:{port}" for port in (8080, 50051) for name in ("server-1", "server-2", "server-3")]
    names = [*listening, "proxy:8443", "proxy:50051", "pushed:9000", "store:8333", "prometheus:9090"]
    ports = {name: f"127.0.0.1:{free_port()}" for name in names}
    with ExitStack() as stack:
        at = make_url(server or stack.enter_context(postgres.server()))
        name = databases.create(at, "template1")
        stack.callback(databases.drop, at, name)
        found = Composed(directory, ports, databases.address(at, name))
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        store = ThreadedMotoServer(
            ip_address="127.0.0.1", port=int(found.address("store").split(":")[1]), verbose=False
        )
        store.start()
        stack.callback(store.stop)
        stack.callback(found.stop_all)
        yield found


def start_proxy(found: Composed) -> None:
    """Start HAProxy with the file's configuration."""
    text = found.configuration("haproxy.cfg")
    text = re.sub(r"bind :(\d+)", lambda match: f"bind {found.address(f'proxy:{match[1]}')}", text)
    file = found.directory / "haproxy.cfg"
    file.write_text(text)
    haproxy = str(shutil.which("haproxy"))
    subprocess.run([haproxy, "-c", "-f", str(file)], check=True)  # noqa: S603  (ours)
    with found.log("proxy").open("ab") as log:
        found.processes["proxy"] = subprocess.Popen(  # noqa: S603  (ours)
            [haproxy, "-db", "-f", str(file)], stdout=log, stderr=log
        )


def start_prometheus(found: Composed) -> str | None:
    """Start Prometheus with the file's configuration and command, and return its address; None if it is not there."""
    program = shutil.which("prometheus")
    if program is None:
        return None
    file, address = found.files / "prometheus.yml", found.address("prometheus")
    file.write_text(found.in_its_place("prometheus", file.read_text()))
    listens = f"--web.listen-address={address}"
    command = [word for word in found.command("prometheus") if not word.startswith("--web.listen-address")]
    with found.log("prometheus").open("ab") as log:
        found.processes["prometheus"] = subprocess.Popen(  # noqa: S603  (ours)
            [program, *command, listens], stdout=log, stderr=log
        )
    return address


async def over_grpc(found: Composed, api: httpx2.AsyncClient) -> list[str]:
    """Select through the proxy over gRPC and over REST, and return a problem if they differ."""
    asked = {"min_clients": 2, "max_clients": 3, "seed": 11}
    rest = (await api.post("/v1/selections", json=asked)).raise_for_status().json()
    expected = [one["client_id"] for one in rest["selected"]]
    trust = grpc.ssl_channel_credentials((found.files / "certificates" / "authority.pem").read_bytes())
    key = (("authorization", f"Bearer {found.secrets['TCSFEEL_AUTH__ADMIN_KEY']}"),)
    async with grpc.aio.secure_channel(found.address("proxy:50051"), trust) as channel:
        answer = await call(channel, "OptimizeTopology", metadata=key, **asked)
    selected = [one.client_id for one in answer.selected]
    return [] if selected == expected else [f"gRPC selects {selected}, and REST {expected}"]


def caller(found: Composed) -> httpx2.AsyncClient:
    """Make a caller of the proxy, with the admin key and the proxy's authority."""
    return httpx2.AsyncClient(
        base_url=f"https://{found.address('proxy')}",
        headers={"Authorization": f"Bearer {found.secrets['TCSFEEL_AUTH__ADMIN_KEY']}"},
        verify=trusted(found.files / "certificates" / "authority.pem"),
        timeout=60,
        trust_env=False,
    )
