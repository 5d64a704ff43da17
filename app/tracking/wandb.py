"""Write trainings to Weights & Biases, by its own package.

The run of a training has the training's id, and is resumed by it. Its summary has the number of the last round.
"""

import importlib
from typing import Any

from app.tracking.figures import MOST_CLIENTS, figures, parameters
from app.tracking.tracker import CannotTrack
from tcsfeel.contract.rounds import RoundOut
from tcsfeel.contract.trainings import TrainingOut
from tcsfeel.statuses import STOPPED
from tcsfeel.text import plain

ROUND = "tcsfeel_round"


class WandbTracker:
    """Writes into a project. Raises `CannotTrack` if the package is not installed."""

    def __init__(self, project: str, *, most_clients: int = MOST_CLIENTS) -> None:
        try:
            self._wandb: Any = importlib.import_module("wandb")
        except ImportError:
            raise CannotTrack("Weights & Biases needs its own package: pip install wandb") from None
        self._project = project
        self._most_clients = most_clients
        self._runs: dict[str, Any] = {}  # by training

    def begin(self, training: TrainingOut) -> int:
        return int(self._run(training).summary.get(ROUND) or 0)

    def write(self, training: TrainingOut, round_: RoundOut) -> None:
        found = figures(round_, most_clients=self._most_clients)
        self._run(training).log(found | {ROUND: round_.number}, step=round_.number)

    def end(self, training: TrainingOut) -> None:
        """Finish the run of a training that has ended. It is resumed if the training goes on."""
        if training.status in STOPPED and (run := self._runs.pop(training.id, None)) is not None:
            run.summary["status"] = training.status
            run.finish()

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()

    def _run(self, training: TrainingOut) -> Any:
        """Return the run of a training, which is made or resumed if it is not open. Raises `CannotTrack`."""
        if training.id not in self._runs:
            try:
                self._runs[training.id] = self._wandb.init(
                    project=self._project,
                    id=training.id,
                    name=training.name,
                    config=parameters(training),
                    resume="allow",
                    reinit="create_new",
                )
            except self._wandb.Error as error:  # nobody has logged in, or the server is away
                raise CannotTrack(f"Weights & Biases refused {training.id}: {plain(str(error))}") from error
        return self._runs[training.id]
