"""The README's examples, word for word, as a reader would type them."""

import runpy
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.docs.pages import blocks, readme_library, readme_walk
from tests.docs.shells import apart, shell


def test_the_walk_through_ends_with_a_trained_model(tmp_path: Path) -> None:
    (trainer,) = blocks(readme_walk(), "python")
    (tmp_path / "my_trainer.py").write_text(trainer)
    output = shell(
        "\n".join(blocks(readme_walk(), "bash")),
        tmp_path,
        **apart(tmp_path),
    )
    assert "completed: target_accuracy" in output
    assert 'federated_round_accuracy{training="' in output
    assert load_file(tmp_path / "model.safetensors")["w"].shape == (64, 10)


def test_the_trainer_is_about_fifteen_lines() -> None:
    (trainer,) = blocks(readme_walk(), "python")
    own = [line for line in trainer.splitlines() if line and not line.startswith(("#", "import", "from"))]
    assert len(own) <= 15


def test_the_library_selects_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks(readme_library(), "python")
    assert example.startswith("from tcsfeel import ")
    (tmp_path / "select.py").write_text(example)
    plan = runpy.run_path(str(tmp_path / "select.py"))["plan"]
    assert 4 <= len(plan.client_ids) <= 6
    assert plan.total_cost <= 8.0
    *chosen, last = capsys.readouterr().out.splitlines()
    assert tuple(chosen) == plan.client_ids
    assert "s of link time; edge-" in last
