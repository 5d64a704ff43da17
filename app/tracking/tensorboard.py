"""Write trainings as event files for TensorBoard, by tensorboardX or PyTorch, whichever is installed.

The directory of each training has a file with the number of the last round that was written. A round that was written
before that number could be is written again, and TensorBoard hides the first copy (`purge_step`).
"""

import importlib
from pathlib import Path
from typing import Any

from app.tracking.figures import MOST_CLIENTS, figures, parameters
from app.tracking.tracker import CannotTrack
from tcsfeel.contract.rounds import RoundOut
from tcsfeel.contract.trainings import TrainingOut

MODULES = ("tensorboardX", "torch.utils.tensorboard")
STATE = "tcsfeel-round"


class TensorBoardTracker:
    """Writes below a directory, into one of its own for each training.

    Raises `CannotTrack` if neither package is installed.
    """

    def __init__(self, directory: Path, *, most_clients: int = MOST_CLIENTS) -> None:
        self._writer = _writer()
        self._directory = directory
        self._most_clients = most_clients
        self._open: dict[str, Any] = {}  # writers by training

    def begin(self, training: TrainingOut) -> int:
        place = self._directory / training.id
        try:
            last = int((place / STATE).read_text())
        except (FileNotFoundError, ValueError):
            last = 0
        self._open[training.id] = writer = self._writer(str(place), purge_step=last + 1)
        if last == 0:
            rows = "\n".join(f"| {name} | {value} |" for name, value in parameters(training).items())
            writer.add_text("configuration", f"| of {training.name} | |\n|---|---|\n{rows}", 0)
        return last

    def write(self, training: TrainingOut, round_: RoundOut) -> None:
        writer, ended = self._open[training.id], (round_.ended_at or round_.started_at).timestamp()
        for name, value in figures(round_, most_clients=self._most_clients).items():
            writer.add_scalar(name, value, round_.number, walltime=ended)
        writer.flush()
        (self._directory / training.id / STATE).write_text(str(round_.number))

    def end(self, training: TrainingOut) -> None:
        """Nothing: an event file does not say whether its training goes on."""

    def close(self) -> None:
        for writer in self._open.values():
            writer.close()


def _writer() -> Any:
    for name in MODULES:
        try:
            return importlib.import_module(name).SummaryWriter
        except ImportError:
            continue
    raise CannotTrack("TensorBoard needs a package that writes its files: pip install tensorboardX, or install PyTorch")
