"""TensorBoard and Weights & Biases get each round once, by packages that need not be installed.

Covers: app.tracking.tensorboard, app.tracking.wandb
"""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.tracking.following import Copying
from app.tracking.tensorboard import MODULES, TensorBoardTracker
from app.tracking.tracker import CannotTrack
from app.tracking.wandb import WandbTracker
from tests.tracking.servers import BEGIN, ID, Plane, ended, silent


class Writer:
    """Stands in for the writer of tensorboardX, and notes what it is told."""

    told: list[Any] = []  # noqa: RUF012  (a test empties it)

    def __init__(self, place: str, *, purge_step: int, filename_suffix: str) -> None:
        Path(place).mkdir(parents=True, exist_ok=True)
        (Path(place) / f"events{filename_suffix}").touch(exist_ok=False)
        self.told.append(("open", Path(place).name, purge_step))

    def add_text(self, name: str, text: str, step: int) -> None:
        assert "| goal.metric | accuracy |" in text
        assert re.match(r"\| of (digits: MNIST/small|a\\\|b) \| \|\n", text)
        self.told.append((name, step))

    def add_scalar(self, name: str, value: float, step: int, *, walltime: float) -> None:
        if name == "evaluation/accuracy":
            self.told.append((value, step, walltime - BEGIN.timestamp()))

    def flush(self) -> None:
        self.told.append("flush")

    def close(self) -> None:
        self.told.append("close")


def test_event_files_hide_what_was_written_before_a_command_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=Writer))
    Writer.told.clear()
    plane = Plane(ended(1), name="a|b")
    for number in (2, 3):
        tracker = TensorBoardTracker(tmp_path)
        Copying(plane, [tracker], tell=silent).catch_up()
        tracker.close()
        plane.all[number] = ended(number, accuracy=0.75)
    assert Writer.told == [
        ("open", ID, 1), ("configuration", 0), (0.5, 1, 14.0), "flush", "close",
        ("open", ID, 2), (0.75, 2, 24.0), "flush", "close",
    ]  # fmt: skip


def test_a_training_that_has_ended_keeps_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=Writer))
    Writer.told.clear()
    plane = Plane(ended(1), status="completed")
    copying = Copying(plane, [TensorBoardTracker(tmp_path)], tell=silent)
    copying.catch_up()
    assert Writer.told[-1] == "close"
    Writer.told.clear()
    Copying(plane, [TensorBoardTracker(tmp_path)], tell=silent).catch_up()  # a command that is started again
    assert Writer.told == []
    plane.all[2] = ended(2)  # of a training that was extended
    copying.catch_up()
    assert Writer.told == [("open", ID, 2), (0.5, 2, 24.0), "flush", "close"]


class Run:
    """Stands in for a run of Weights & Biases, which its server keeps by its id."""

    kept: dict[str, "Run"] = {}  # noqa: RUF012  (a test empties it)

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}
        self.steps: list[int] = []
        self.finished = 0

    def log(self, found: dict[str, float], *, step: int) -> None:
        self.steps.append(step)
        self.summary |= found

    def finish(self) -> None:
        self.finished += 1


class LoggedOut(Exception):
    """Stands in for the errors of the package."""


def init(**options: Any) -> Run:
    assert (options["project"], options["resume"], options["config"]["goal.mode"]) == ("feel", "allow", "max")
    return Run.kept.setdefault(options["id"], Run())


def test_a_run_of_weights_and_biases_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Error=LoggedOut))
    Run.kept.clear()
    plane = Plane(ended(1), status="completed")
    for number in (2, 3):
        tracker = WandbTracker("feel")
        Copying(plane, [tracker], tell=silent).catch_up()
        tracker.close()
        plane.all[number] = ended(number)
    (run,) = Run.kept.values()
    assert (run.steps, run.finished, run.summary["status"]) == ([1, 2], 2, "completed")


def test_a_refusal_of_weights_and_biases_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Run:
        raise LoggedOut("api_key not configured")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=refuse, Error=LoggedOut))
    with pytest.raises(CannotTrack, match=f"Weights & Biases refused {ID}: api_key not configured"):
        Copying(Plane(ended(1)), [WandbTracker("feel")], tell=silent).catch_up()


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*MODULES, "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CannotTrack, match="pip install tensorboardX"):
        TensorBoardTracker(tmp_path)
    with pytest.raises(CannotTrack, match="pip install wandb"):
        WandbTracker("feel")
