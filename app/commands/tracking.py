"""Copy trainings to the trackers that the options of ``tcsfeel track`` name."""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from app.tracking.following import Copying
from app.tracking.mlflow import MlflowTracker
from app.tracking.tensorboard import TensorBoardTracker
from app.tracking.tracker import CannotTrack, Tracker, TrackerAway
from app.tracking.wandb import WandbTracker
from tcsfeel.cli.ending import fail
from tcsfeel.cli.options import ca_file, find_key
from tcsfeel.client import ApiError, Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Where to write. `clients` is the largest round whose clients have figures of their own."""

    mlflow: str | None
    experiment: str
    tensorboard: Path | None
    wandb: str | None
    clients: int

    def trackers(self, server: str) -> list[Tracker]:
        """Make the trackers. Raises `CannotTrack`."""
        found: list[Tracker] = []
        if self.mlflow is not None:
            user, password, token = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in _CREDENTIALS)
            found.append(
                MlflowTracker(
                    self.mlflow,
                    server=server,
                    experiment=self.experiment,
                    auth=(user, password or "") if user else None,
                    token=None if user else token,
                    most_clients=self.clients,
                )
            )
        if self.tensorboard is not None:
            found.append(TensorBoardTracker(self.tensorboard, most_clients=self.clients))
        if self.wandb is not None:
            found.append(WandbTracker(self.wandb, most_clients=self.clients))
        if not found:
            raise CannotTrack("say where to write: --mlflow URL, --tensorboard DIRECTORY or --wandb PROJECT")
        return found


_CREDENTIALS = ("USERNAME", "PASSWORD", "TOKEN")


def run(server: str, key: str | None, targets: Targets, *, trainings: Sequence[str], once: bool) -> None:
    """Copy, until Ctrl-C unless `once`. Ends the command with the reason if something is refused."""
    try:
        with ExitStack() as stack:
            trackers = targets.trackers(server)
            for tracker in trackers:
                stack.callback(tracker.close)
            client = stack.enter_context(Client(server, find_key(key), ca_file=ca_file()))
            copying = Copying(client, trackers, only=trainings, tell=click.echo)
            if once:
                copying.catch_up()
            else:
                copying.follow(time.sleep)
    except (CannotTrack, TrackerAway, ApiError, OSError, ValueError) as error:
        fail(str(error))
