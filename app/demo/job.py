"""Run a demo from begin to end, and print what happens."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from app.demo import mlp
from app.demo.baseline import baseline
from app.demo.errors import DemoFailed
from app.demo.history import History, Row
from app.demo.plane import ENDED
from app.demo.progress import progress
from app.demo.stage import Stage, data_directory, stage
from app.demo.summary import Outcome, ideas, summary, tour
from app.demo.world import World

CLIENTS_A_ROUND = 10
MAX_ROUNDS = 120
RECIPES = {"star": "tcs-feel", "relay": "tcs-feel-relay"}  # by topology
PACES = {
    "modelled": "answers take as long as the modelled devices and links would",
    "shaped": "bytes travel at the speeds of their links, answers take as long as the modelled devices would",
}
EPOCHS, BATCH, RATE = 5, 10, 0.5
LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """The parameters of a demo; see `app.demo.run`."""

    strategy: str
    agents: int
    seed: int
    target_accuracy: float
    transport: str = "push"
    topology: str = "star"
    links: str = "modelled"
    slower: float = 1.0

    def other(self) -> str | None:
        """Return the command that does the same with the other topology; None if agents pull, which cannot relay."""
        if self.transport == "pull":
            return None
        topology = "star" if self.topology == "relay" else "relay"
        return (
            f"tcsfeel demo --strategy {self.strategy} --agents {self.agents} --seed {self.seed}"
            f" --target {self.target_accuracy:g} --topology {topology} --links {self.links}"
            f" --slower {self.slower:g}"
        )

    def training(self) -> dict[str, Any]:
        """Return the body of ``POST /v1/trainings``."""
        return {
            "name": f"demo-{self.strategy}-{self.seed}",
            "target_accuracy": self.target_accuracy,
            "max_rounds": MAX_ROUNDS,
            "recipe": RECIPES[self.topology],
            "selection": {
                "strategy": self.strategy,
                "min_clients": CLIENTS_A_ROUND,
                "max_clients": CLIENTS_A_ROUND,
            },
            "hyperparameters": {"local_epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE},
            "round_policy": {"deadline_seconds": 30.0, "quorum": 0.6, "grace_seconds": 1.0},
            "evaluation": {"clients": self.agents},
            "seed": self.seed,
        }


def run_job(job: Job, *, keep: bool) -> None:
    """Run `job`. Raises `DemoFailed`."""
    console = Console(soft_wrap=True)
    with _terminated_like_interrupted(), data_directory(keep=keep) as directory:
        if keep:
            _print(console, f"Logs, database and models stay in {directory}")
        _run(job, directory, console, keep=keep)


def _run(job: Job, directory: Path, console: Console, *, keep: bool) -> None:
    began = time.monotonic()
    _print(console, f"Starting a control plane and {job.agents} agents")
    with stage(
        directory,
        seed=job.seed,
        agents=job.agents,
        transport=job.transport,
        links=job.links,
        slower=job.slower,
    ) as found:
        world = World.of(job.seed, job.agents, slower=job.slower)
        found.plane.put("/v1/connectivity", world.connectivity())
        digits = world.held_out()
        total, held_out = len(digits.train_labels) + len(digits.test_labels), len(digits.test_labels)
        bandwidths = [device.bandwidth for device in world.network.devices]
        speeds = f"{min(bandwidths):.3g} to {max(bandwidths):.3g} Mbps"
        _print(
            console,
            f"server   {found.plane.url}, all agents registered after {time.monotonic() - began:.1f} s",
            f"data     {total} digits, split by Dirichlet(0.3) over {job.agents} clients, {held_out} of them held out",
            f"network  {world.network.sites} sites, {speeds}; {PACES[job.links]}, and some fail",
            "",
        )
        training_began = time.monotonic()
        training_id = found.plane.post("/v1/trainings", job.training())["id"]
        history, training = _follow(console, job, found, training_id)
        training_seconds = time.monotonic() - training_began
        _, share = mlp.measure(found.plane.model(training_id), digits.test_inputs, digits.test_labels)
        plain = baseline(
            world,
            clients=CLIENTS_A_ROUND,
            rounds=MAX_ROUNDS,
            target=job.target_accuracy,
            epochs=EPOCHS,
            rate=RATE,
            batch=BATCH,
        )
        outcome = Outcome(
            recipe=RECIPES[job.topology],
            strategy=job.strategy,
            baseline=plain,
            target=job.target_accuracy,
            reached=training["stop_reason"] == "target_accuracy",
            history=history,
            right=round(share * held_out),
            held_out=held_out,
            training_seconds=training_seconds,
            total_seconds=time.monotonic() - began,
            shaped=job.links == "shaped",
            other=job.other(),
        )
        _print(console, "", *summary(outcome))
        if keep:
            _print(console, "", "Still running, until Ctrl-C:", *tour(found.plane.url, found.key_file, training_id))
            _linger(found)
        else:
            _print(console, "", "Try next:", *ideas(job.strategy, job.seed))
    if not outcome.reached:
        reason = training["stop_detail"] or training["stop_reason"]
        raise DemoFailed(f"{history.accuracy or 0:.4f} after {len(history.rows)} rounds is below the target: {reason}")


def _follow(console: Console, job: Job, found: Stage, training_id: str) -> tuple[History, dict[str, Any]]:
    """Start the training, show each round when it has ended, and return the training at its end."""
    plane, path, history = found.plane, f"/v1/trainings/{training_id}", History()
    plane.post(f"{path}/start")
    with progress(console, history, job.target_accuracy) as display:
        while True:
            found.check()
            training: dict[str, Any] = plane.get(path)
            ended = training["status"] in ENDED
            for number in range(len(history.rows) + 1, training["current_round"] + ended):
                history.rows.append(Row.of(plane.get(f"{path}/rounds/{number}")))
                display.update()
            if ended:
                return history, training
            time.sleep(LOOK_SECONDS)


def _linger(found: Stage) -> None:
    """Wait until the user ends the demo, and check that everything still runs."""
    try:
        while True:
            found.check()
            time.sleep(1)
    except (KeyboardInterrupt, SystemExit):
        return


def _print(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise an exception like SIGINT, so that everything is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
