"""Build both distributions, install them into empty environments, and train across the two: ``make wheels``.

``make sdists`` does the same with source distributions, from which pip builds the wheels itself. The library's
environment is like that of a device, and the service's like that of a server. Both are installed from the package
index, as users do it. The working directory has folders with names that many projects use. None of them may be
imported, except the package `app` with the trainer.
"""

import argparse
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.harnesses.distributions import ROOT, copied, finished, run, sdists_of, wheels_of

MOST_DISTRIBUTIONS = 15
MOST_MEGABYTES = 80.0
MOST_CPU_SECONDS = 0.4
MOST_TRIES = 20
PATIENCE = 120.0  # seconds until something that should happen is given up
INSTALLERS = {"pip", "setuptools", "wheel"}
KEY = "wheels-" + "k" * 32
FOREIGN = "raise SystemExit('a module of the working directory was run: ' + __file__)\n"
CPU = "import time; import tcsfeel.agent; print(time.process_time())"
FILES = "from importlib.metadata import files; print(*files({name!r}), sep='\\n')"
LISTED = """
import json
from importlib.metadata import distributions
print(json.dumps([[one.metadata["Name"], one.read_text("top_level.txt") or ""] for one in distributions()]))
"""


@dataclass
class Report:
    """The figures that were measured, and the problems that were found."""

    lines: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def check(self, what: str, *, holds: bool) -> None:
        self.lines.append(f"{'ok    ' if holds else 'MISSED'} {what}")
        if not holds:
            self.missed.append(what)


@dataclass(frozen=True)
class Environment:
    """A virtual environment with one of the distributions and its dependencies."""

    path: Path

    @classmethod
    def make(cls, path: Path, requirement: str, built: Path) -> "Environment":
        """Install what was built, and what it depends on from the package index."""
        venv.create(path, with_pip=True)
        made = cls(path)
        pip = [made.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, "--find-links", built, requirement])
        return made

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def command(self) -> Path:
        return self.path / "bin" / "tcsfeel"

    def ask(self, program: str) -> str:
        return run([self.python, "-c", program], cwd=self.path)

    def listed(self) -> dict[str, set[str]]:
        """The installed distributions, each with its top-level packages."""
        found = {name.lower(): {*top.split()} for name, top in json.loads(self.ask(LISTED))}
        return {name: tops for name, tops in found.items() if name not in INSTALLERS}

    def megabytes(self) -> float:
        """Return the size of site-packages in MB, without pip and setuptools."""
        (site,) = self.path.glob("lib/python3*/site-packages")
        kept = [
            path
            for path in site.iterdir()
            if path.name.split("-")[0].split(".")[0] not in INSTALLERS | {"_distutils_hack", "pkg_resources"}
        ]
        files = [file for path in kept for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
        return sum(file.stat().st_size for file in files) / 1e6


def compare(report: Report, environment: Environment, wheel: Path) -> None:
    """See that what pip built from a source distribution has the files of the wheel from the checkout."""
    name = wheel.name.split("-")[0]
    with zipfile.ZipFile(wheel) as archive:
        wanted = {file for file in archive.namelist() if not file.endswith(("/RECORD", "/WHEEL"))}
    got = set(environment.ask(FILES.format(name=name)).splitlines())
    missing = sorted(wanted - got)
    report.check(
        f"{name} from its source distribution has the {len(wanted)} files of its wheel, without {missing}",
        holds=not missing and len(wanted) > 1,
    )


def least_cpu_seconds(device: Environment) -> float:
    """Measure the import until it is as quick as it has to be: on a busy machine most tries are slower."""
    least = math.inf
    for _ in range(MOST_TRIES):
        least = min(least, float(device.ask(CPU)))
        if least <= MOST_CPU_SECONDS:
            break
    return least


def look(report: Report, device: Environment, server: Environment) -> None:
    """Compare the size of what was installed with the limits."""
    listed = device.listed()
    report.check(
        f"tcsfeel installs {len(listed)} distributions (at most {MOST_DISTRIBUTIONS}): {', '.join(sorted(listed))}",
        holds=len(listed) <= MOST_DISTRIBUTIONS,
    )
    megabytes = device.megabytes()
    report.check(f"tcsfeel takes {megabytes:.3f} MB (at most {MOST_MEGABYTES:g})", holds=megabytes <= MOST_MEGABYTES)
    seconds = least_cpu_seconds(device)
    report.check(
        f"`import tcsfeel.agent` takes {seconds:.2f} s of CPU (at most {MOST_CPU_SECONDS:g})",
        holds=seconds <= MOST_CPU_SECONDS,
    )
    report.check(f"tcsfeel brings the packages {sorted(listed['tcsfeel'])}", holds=listed["tcsfeel"] == {"tcsfeel"})
    tops = server.listed()["tcsfeel-server"]
    report.check(f"tcsfeel-server brings the packages {sorted(tops)}", holds=tops == {"app"})


def foreign(directory: Path) -> Path:
    """Make a working directory with folders that have the names of ours, and a trainer in a package called `app`."""
    place = directory / "project"
    for name in ("migrations/__init__.py", "migrations/env.py", "tests/__init__.py", "httpx2.py", "click.py"):
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(FOREIGN)
    (place / "app").mkdir()
    (place / "app" / "__init__.py").touch()
    shutil.copy(ROOT / "examples" / "minimal_trainer.py", place / "app" / "trainers.py")
    return place


def train(report: Report, device: Environment, server: Environment, directory: Path) -> None:
    """Migrate, serve, and train for two rounds with an agent of the other environment."""
    place = foreign(directory)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {
        "PATH": os.environ["PATH"],
        "TCSFEEL_DATA_DIR": str(directory / "data"),
        "TCSFEEL_AUTH__ADMIN_KEY": KEY,
        "TCSFEEL_AGENTS__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
    }
    missing = finished([device.command, "serve"], cwd=place, env=variables)
    report.check(
        "without the server, `tcsfeel serve` says what to install",
        holds=missing.returncode == 1 and "pip install tcsfeel-server" in missing.stderr,
    )
    said = run([server.command, "migrate"], cwd=place, env=variables)
    report.check(
        f"`tcsfeel migrate` beside a foreign migrations/ says: {said.strip()}",
        holds=said == "the database is up to date\n",
    )
    url = f"http://127.0.0.1:{port}"
    with (
        running([server.command, "serve", "--port", port], place, variables),
        httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=30) as api,
    ):
        until(lambda: is_ready(api))
        files = ["/", *(f"/dashboard/{file.name}" for file in (ROOT / "app" / "dashboard").iterdir())]
        unserved = [file for file in files if not api.get(file).is_success]
        report.check(f"the dashboard is installed: {len(files)} files, without {unserved}", holds=not unserved)
        agent = [device.command, "agent", "app.trainers:trainer", "--id", "edge-1", "--server", url]
        with running(agent, place, variables):
            until(lambda: len(api.get("/v1/clients").json()["items"]) == 1)
            body = {"name": "wheels", "max_rounds": 2, "selection": {"min_clients": 1, "max_clients": 1}}
            training = api.post("/v1/trainings", json=body).raise_for_status().json()["id"]
            api.post(f"/v1/trainings/{training}/start").raise_for_status()
            until(lambda: api.get(f"/v1/trainings/{training}").json()["status"] not in {"created", "running"})
            ended = api.get(f"/v1/trainings/{training}").json()
    report.check(
        f"a trainer in a package called `app` trained: {ended['status']} after round {ended['current_round']}",
        holds=ended["status"] == "completed",
    )


def is_ready(api: httpx2.Client) -> bool:
    try:
        return api.get("/readyz").is_success
    except httpx2.TransportError:
        return False


def until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("what should have happened did not within two minutes")
        time.sleep(0.2)


@contextmanager
def running(command: list[Any], place: Path, variables: dict[str, str]) -> Iterator[None]:
    """Run a process. If it ends by itself, its output is shown."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([str(word) for word in command], cwd=place, env=variables, stdout=log, stderr=log)  # noqa: S603  (ours)
        try:
            yield
        finally:
            if process.poll() is not None:
                log.seek(0)
                print(log.read(), file=sys.stderr)
            process.terminate()
            process.wait(30)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="a directory to work in, which is kept")
    parser.add_argument("--sdists", action="store_true", help="install source distributions instead of wheels")
    given = parser.parse_args()
    name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    with tempfile.TemporaryDirectory(prefix="wheels-") as temporary:
        directory = (given.keep or Path(temporary)).resolve()
        report = Report()
        source = copied(directory)
        wheels = wheels_of(source, directory / "wheels")
        built = sdists_of(copied(directory / "again"), directory / "sdists") if given.sdists else wheels
        with ThreadPoolExecutor() as threads:  # each takes one core
            making = [
                threads.submit(Environment.make, directory / place, requirement, built)
                for place, requirement in (("device", "tcsfeel"), ("server", name))
            ]
            device, server = (made.result() for made in making)
        look(report, device, server)
        if given.sdists:
            for environment, distribution in ((device, "tcsfeel"), (server, name)):
                (wheel,) = wheels.glob(f"{distribution.replace('-', '_')}-*.whl")
                compare(report, environment, wheel)
        train(report, device, server, directory)
    print("\n".join(report.lines))
    return len(report.missed) > 0


if __name__ == "__main__":
    sys.exit(main())
