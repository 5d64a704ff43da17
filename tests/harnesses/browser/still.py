"""Serve federations in which time stands still, so that two pictures of a view differ only if the dashboard does.

There are three: an empty server, a fleet of 1 000 clients, and a recorded federation. `record` makes the latter from a
real run. The clock of each server shows the same instant all the time, and its loops sleep for ever.
"""

import asyncio
import gzip
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from app.demo.leash import Child
from app.demo.network import BANDWIDTH, COMPUTE, LATENCY, log_uniform
from app.demo.plane import ENDED, Plane
from app.demo.stage import environment, free_port
from app.main import create_app
from app.services.running.starting import prepare_database
from app.settings import Settings
from tests.clocks import FakeClock
from tests.harnesses.browser.federation import Federation, federation, over_relays, wait_until

RECORDED = Path(__file__).parent / "recorded"
DATABASE = RECORDED / "federation.db.gz"
FACTS = RECORDED / "federation.json"
KEY = "pictures-" + "k" * 32
NOW = 1_796_000_000.0  # unix seconds, of the servers that are not recorded
LATER = 20.0  # seconds from the last event of the recorded federation to the pictures
ROUNDS = 14
FLEET, SITES = 1_000, 20


@dataclass(frozen=True, slots=True)
class Still:
    """A server in which time stands still at `now` (unix seconds), and the ids of its trainings by their names."""

    url: str
    now: float
    trainings: dict[str, str]


@contextmanager
def empty(directory: Path) -> Iterator[Still]:
    """Serve nothing in the block."""
    with _served(directory, NOW, {}) as (_, still):
        yield still


@contextmanager
def fleet(directory: Path) -> Iterator[Still]:
    """Serve 1 000 clients in the block."""
    with _served(directory, NOW, {}) as (plane, still):
        plane.post("/v1/clients/batch", {"clients": _clients()})
        yield still


@contextmanager
def recorded(directory: Path) -> Iterator[Still]:
    """Serve the recorded federation in the block."""
    facts = json.loads(FACTS.read_text())
    directory.mkdir(parents=True)
    with gzip.open(DATABASE) as packed, (directory / "tcsfeel.db").open("wb") as file:
        shutil.copyfileobj(packed, file)
    with _served(directory, facts["now"], facts["trainings"]) as (_, still):
        yield still


def record() -> None:
    """Run the federation of `make browser` for some rounds, and keep its database."""
    with tempfile.TemporaryDirectory(prefix="tcsfeel-record-") as name:
        directory = Path(name)
        with federation(directory, rounds=ROUNDS) as found:
            wait_until(lambda: _status(found, found.training) in ENDED)
            over_relays(found, rounds=ROUNDS // 2)
            trainings = {one["name"]: one["id"] for one in found.plane.get("/v1/trainings")["items"]}
            wait_until(lambda: _status(found, trainings["digits over relays"]) in ENDED)
            now = time.time() + LATER
        copy = directory / "copy.db"
        with closing(sqlite3.connect(directory / "tcsfeel.db")) as database:
            database.execute("UPDATE clients SET auth_token = NULL")
            database.commit()
            database.execute("VACUUM INTO ?", (str(copy),))
        RECORDED.mkdir(exist_ok=True)
        DATABASE.write_bytes(gzip.compress(copy.read_bytes(), mtime=0))
        FACTS.write_text(json.dumps({"now": now, "trainings": trainings}, indent=1) + "\n")


def main() -> None:
    """Serve a control plane whose clock stands still: ``PORT NOW``."""
    _, port, now = sys.argv
    settings = Settings.load()
    asyncio.run(prepare_database(settings))
    app = create_app(settings, clock=FakeClock(float(now)))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_config=None, access_log=False)


@contextmanager
def _served(directory: Path, now: float, trainings: dict[str, str]) -> Iterator[tuple[Plane, Still]]:
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = Child(
        "the control plane",
        "tests.harnesses.browser.still:main",
        *(str(port), str(now)),
        log=directory / "server.log",
        environment=environment(directory) | {"TCSFEEL_AUTH__ADMIN_KEY": KEY},
    )
    try:
        with Plane(url, KEY, check=server.check) as plane:
            wait_until(plane.is_ready)
            yield plane, Still(url, now, trainings)
    finally:
        server.let_go()
        server.wait()


def _status(found: Federation, training: str) -> str:
    return str(found.plane.get(f"/v1/trainings/{training}")["status"])


def _clients() -> list[dict[str, Any]]:
    """Make clients like those of a fleet, from a seed."""
    rng = np.random.default_rng(1)
    columns = (log_uniform(limits, FLEET, rng).round(2).tolist() for limits in (BANDWIDTH, LATENCY, COMPUTE))
    sizes = rng.integers(20, 2_000, FLEET).tolist()
    return [
        {
            "id": f"device-{number:04}",
            "url": f"http://127.0.0.1:9/{number}",
            "bandwidth": bandwidth,
            "latency": latency,
            "compute_capacity": compute,
            "data_size": size,
            "tags": {"site": f"site-{number % SITES + 1}"},
        }
        for number, (bandwidth, latency, compute, size) in enumerate(zip(*columns, sizes, strict=True))
    ]
