"""A federation to look at: the one of the demo, a site whose devices return NaN, and a device that is gone."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.demo.job import Job
from app.demo.leash import Child
from app.demo.plane import Plane
from app.demo.stage import ONE_THREAD, environment, stage
from app.demo.world import World
from tests.harnesses.browser.faulty import DEVICES

AGENTS = 50
SEED = 1
PATIENCE = 60.0
RELAYED_ROUNDS = 3
GONE = "edge-gone"
NEVER = 0.999  # a target that the training does not reach while somebody looks


@dataclass(frozen=True, slots=True)
class Federation:
    """A running control plane with a training."""

    plane: Plane
    url: str
    key: str
    training: str


@contextmanager
def federation(directory: Path) -> Iterator[Federation]:
    """Start everything. All processes end with the block."""
    with stage(directory, seed=SEED, agents=AGENTS) as found:
        plane, key = found.plane, found.key_file.read_text().strip()
        plane.put("/v1/connectivity", World.of(SEED, AGENTS).connectivity())
        site = Child(
            "the faulty site",
            "tests.harnesses.browser.faulty:main",
            *(plane.url, str(found.key_file)),
            log=directory / "faulty.log",
            environment=environment(directory) | ONE_THREAD,
        )
        try:
            wait_until(lambda: len(plane.get("/v1/clients?limit=1000")["items"]) == AGENTS + DEVICES)
            gone = {"url": "http://127.0.0.1:9", "data_size": 500, "compute_capacity": 50.0, "bandwidth": 100.0}
            plane.put(f"/v1/clients/{GONE}", gone | {"latency": 5.0, "tags": {"site": "site-1"}})
            body = Job(strategy="tcs-feel", agents=AGENTS, seed=SEED, target_accuracy=NEVER).training()
            body["selection"] |= {"min_clients": 8, "max_clients": 14, "budget_constraint": 2.0}
            training = plane.post("/v1/trainings", body | {"name": "digits", "max_rounds": 2000})["id"]
            plane.post("/v1/trainings", {"name": "digits, slower"})
            plane.post(f"/v1/trainings/{training}/start")
            yield Federation(plane, plane.url, key, training)
        finally:
            site.let_go()
            site.wait()


def over_relays(found: Federation) -> None:
    """Run some rounds of another training, whose updates travel over relays, so that its trees have branches."""
    selection = {"min_clients": 8, "max_clients": 14}
    body = {"name": "digits over relays", "topology": "relay", "selection": selection, "max_rounds": 2000}
    path = f"/v1/trainings/{found.plane.post('/v1/trainings', body)['id']}"
    found.plane.post(f"{path}/start")
    wait_until(lambda: int(found.plane.get(path)["current_round"]) > RELAYED_ROUNDS)


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds. Raises `TimeoutError` if it does not."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError("what should happen did not happen")
        time.sleep(0.2)
