"""``package.module:attribute`` leads to a trainer, or to one line that says where the way ended."""

import sys
from pathlib import Path

import pytest

from tcsfeel.agent import Trainer, TrainerNotFound, load_trainer

MODULE = """
from tests.tcsfeel.agent.fakes import AddingTrainer

class Half:
    def fit(self): ...
    def profile(self): ...

class Needy(AddingTrainer):
    def __init__(self, path): ...

class space:
    inner = AddingTrainer()

instance = AddingTrainer()
half = Half()
number = 7

def make():
    return AddingTrainer()

def make_half():
    return Half()

def fail():
    raise FileNotFoundError("no such\\n data")
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edge_trainers.py").write_text(MODULE)
    (tmp_path / "edge_broken.py").write_text("import a_module_that_nobody_has")
    (tmp_path / "edge_syntax.py").write_text("def")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("edge_trainers", "edge_broken", "edge_syntax"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("attribute", ["instance", "AddingTrainer", "make", "space.inner"])
def test_an_instance_a_class_or_a_function_gives_a_trainer(attribute: str) -> None:
    trainer = load_trainer(f"edge_trainers:{attribute}")

    assert isinstance(trainer, Trainer)
    assert trainer.profile().data_size == 2


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("edge_trainers", "'edge_trainers' is not of the form package.module:attribute"),
        (":instance", "':instance' is not of the form package.module:attribute"),
        ("edge_trainers:", "'edge_trainers:' is not of the form package.module:attribute"),
        ("edge_nowhere:x", "importing edge_nowhere failed: ModuleNotFoundError: No module named 'edge_nowhere'"),
        (
            "edge_broken:x",
            "importing edge_broken failed: ModuleNotFoundError: No module named 'a_module_that_nobody_has'",
        ),
        ("edge_syntax:x", "importing edge_syntax failed: SyntaxError: invalid syntax (edge_syntax.py, line 1)"),
        ("edge_trainers:other", "module edge_trainers has no other"),
        ("edge_trainers:space.other", "module edge_trainers has no space.other"),
        ("edge_trainers:half", "edge_trainers:half is not a trainer: it lacks initial_parameters"),
        ("edge_trainers:Half", "edge_trainers:Half did not return a trainer: it lacks initial_parameters"),
        ("edge_trainers:make_half", "edge_trainers:make_half did not return a trainer: it lacks initial_parameters"),
        (
            "edge_trainers:number",
            "edge_trainers:number is not a trainer: it lacks initial_parameters, fit, profile",
        ),
        ("edge_trainers:fail", "calling edge_trainers:fail failed: FileNotFoundError: no such data"),
    ],
)
def test_where_there_is_none_one_line_says_why(reference: str, reason: str) -> None:
    with pytest.raises(TrainerNotFound) as caught:
        load_trainer(reference)

    assert str(caught.value) == reason


def test_a_class_that_needs_arguments_cannot_be_called_without() -> None:
    with pytest.raises(TrainerNotFound, match=r"calling edge_trainers:Needy failed: TypeError: .*'path'"):
        load_trainer("edge_trainers:Needy")
