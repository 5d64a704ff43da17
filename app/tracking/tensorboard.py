"""Write trainings as event files for TensorBoard, by tensorboardX or PyTorch, whichever is installed.

The directory of each training has a file with the number of the last round that was written. A round that was written
before that number could be is written again, and TensorBoard hides the first copy (`purge_step`).
"""

import importlib
import re
from pathlib import Path
from typing import Any

from app.tracking.figures import MOST_CLIENTS, figures, parameters
from app.tracking.tracker import CannotTrack
from tcsfeel.contract.rounds import RoundOut
from tcsfeel.contract.trainings import TrainingOut
from tcsfeel.statuses import STOPPED

MODULES = ("tensorboardX", "torch.utils.tensorboard")
STATE = "tcsfeel-round"
_MARKS = re.compile(r"[\\`*_\[\]!|]")


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
        try:
            return int((self._directory / training.id / STATE).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def write(self, training: TrainingOut, round_: RoundOut) -> None:
        if training.id not in self._open:
            self._open[training.id] = self._opened(training, round_.number)
        writer, ended = self._open[training.id], (round_.ended_at or round_.started_at).timestamp()
        for name, value in figures(round_, most_clients=self._most_clients).items():
            writer.add_scalar(name, value, round_.number, walltime=ended)
        writer.flush()
        (self._directory / training.id / STATE).write_text(str(round_.number))

    def end(self, training: TrainingOut) -> None:
        """Let go of the file of a training that has ended. An event file does not say so."""
        if training.status in STOPPED and (writer := self._open.pop(training.id, None)) is not None:
            writer.close()

    def close(self) -> None:
        for writer in self._open.values():
            writer.close()

    def _opened(self, training: TrainingOut, first: int) -> Any:
        """Begin a file of a training with a round, and with the configuration before the first one."""
        place = str(self._directory / training.id)
        # The suffix keeps apart two files of one second, which tensorboardX gives the same name.
        writer = self._writer(place, purge_step=first, filename_suffix=f".{first}")
        if first == 1:
            rows = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in parameters(training).items())
            writer.add_text("configuration", f"| of {_cell(training.name)} | |\n|---|---|\n{rows}", 0)
        return writer


def _cell(text: str) -> str:
    """Return a text as it is, in a table of Markdown."""
    return _MARKS.sub(r"\\\g<0>", text)


def _writer() -> Any:
    for name in MODULES:
        try:
            return importlib.import_module(name).SummaryWriter
        except ImportError:
            continue
    raise CannotTrack("TensorBoard needs a package that writes its files: pip install tensorboardX, or install PyTorch")
