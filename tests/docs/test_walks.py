"""The tutorial, the how-tos and the page for those who come from Flower: their commands run, and do what they say."""

import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tcsfeel.agent import Task
from tests.docs.pages import ROOT, blocks, page
from tests.docs.shells import apart, shell
from tests.e2e.federations import federation
from tests.tracking.servers import FakeMlflow

HOWTOS = ("register", "enrol", "links", "strategy", "tune", "track")


def test_the_tutorial_ends_with_a_model_of_all_devices(tmp_path: Path) -> None:
    text = page("tutorial.md")
    for program in blocks(text, "python"):
        (tmp_path / program.split()[1]).write_text(program)
    output = shell("\n".join(blocks(text, "bash")), tmp_path, **apart(tmp_path))
    assert output.count("completed: target") == 2
    assert output.count("edge-2: fit failed: its trainer failed: loss is nan: it should be a finite number") == 3
    assert "breaker open, opened because 3 failures in a row" in output
    assert re.search(r" round \d edge-2 fit failed: its trainer failed: loss is nan", output)
    assert "4 of 4 updates" in output
    assert "{'b': array(" in output


def test_the_commands_of_the_how_tos_run_one_after_the_other(tmp_path: Path, sqlite_url: str) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("go", "__pycache__"))
    script = "\n".join(f"echo '== {name}'\n" + "\n".join(blocks(page(f"howto/{name}.md"), "bash")) for name in HOWTOS)
    with federation(tmp_path, sqlite_url) as server, FakeMlflow().served() as (mlflow, url):
        settings = {"TCSFEEL_SERVER": server.url, "TCSFEEL_KEY": server.key, "MLFLOW_TRACKING_URI": url}
        output = shell(script, tmp_path, **settings)
    parts = dict(zip(HOWTOS, output.split("== ")[1:], strict=True))
    assert '"id":"press-1"' in parts["register"]
    assert "north-1" in parts["enrol"]
    assert "2 links in 1 part, bridges: 2" in parts["links"]
    assert "is selected, score" in parts["strategy"]
    assert "fedcs [" in parts["strategy"]
    assert parts["tune"].count("completed") >= 2
    assert len((tmp_path / "rounds.csv").read_text().splitlines()) > 4
    finished = [run["id"] for run in mlflow.runs.values() if run["status"] == "FINISHED"]
    assert len(finished) == parts["track"].count(": completed, up to round") >= 2
    assert {run for run, name, *_ in mlflow.metrics if name == "round/goal_value"} >= set(finished)


def test_every_command_of_the_how_tos_is_run() -> None:
    written = {path.stem for path in (ROOT / "docs" / "howto").glob("*.md") if blocks(path.read_text(), "bash")}
    assert written == set(HOWTOS)


def test_the_trainer_of_its_page_lowers_the_loss(tmp_path: Path) -> None:
    script = tmp_path / "trainers.py"
    script.write_text("\n".join(blocks(page("howto/trainers.md"), "python")))
    assert "after" in runpy.run_path(str(script))


class Client:
    """As somebody may have written it for Flower."""

    def get_parameters(self, config: dict[str, Any]) -> list[np.ndarray]:
        del config
        return [np.zeros(2, np.float32), np.ones(1, np.float32)]

    def fit(self, parameters: list[np.ndarray], config: dict[str, Any]) -> tuple[list[np.ndarray], int, dict[str, Any]]:
        parameters[0] += config["learning_rate"]  # in place, as many clients do
        return parameters, 7, {"loss": 0.5, "accuracy": 0.75}

    def evaluate(self, parameters: list[np.ndarray], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        del config
        return float(parameters[0].sum()), 3, {"accuracy": 1.0}


def test_a_client_of_flower_serves_through_the_adapter(tmp_path: Path) -> None:
    (adapter,) = blocks(page("from-flower.md"), "python")
    (tmp_path / "adapter.py").write_text(adapter)
    trainer = runpy.run_path(str(tmp_path / "adapter.py"))["FromFlower"](Client(), 7)
    given = trainer.initial_parameters()
    for array in given.values():
        array.flags.writeable = False
    task = Task(
        id="t.1.a.fit",
        kind="fit",
        training_id="t",
        round=1,
        hyperparameters={"learning_rate": 0.25},
        deadline_seconds=60.0,
    )
    update = trainer.fit(given, task)
    assert {name: array.tolist() for name, array in update.parameters.items()} == {"0000": [0.25, 0.25], "0001": [1.0]}
    assert (update.num_examples, update.loss, update.metrics) == (7, 0.5, {"accuracy": 0.75})
    measured = trainer.evaluate(update.parameters, task)
    assert (measured.num_examples, measured.loss, measured.metrics) == (3, 0.5, {"accuracy": 1.0})
    assert trainer.profile().data_size == 7


@pytest.mark.parametrize(
    "words",
    ["should be a finite number", "its trainer failed", "the server had no free slot", "may not be at", "is not ready"],
)
def test_what_troubleshooting_quotes_is_what_the_code_says(words: str) -> None:
    assert words in page("troubleshooting.md")
    assert any(words in path.read_text() for top in ("app", "sdk/tcsfeel") for path in (ROOT / top).rglob("*.py"))


def test_errors_that_troubleshooting_names_are_in_the_table_of_errors() -> None:
    named = set(re.findall(r"^\| \d{3} `([a-z-]+)` \|", page("troubleshooting.md"), re.MULTILINE))
    assert len(named) > 5
    assert named <= set(re.findall(r"^\| \d+ \| `([a-z-]+)` \|", page("rest.md"), re.MULTILINE))
