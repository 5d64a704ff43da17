"""The README's walk-through, word for word, as a stranger would type it."""

from pathlib import Path

from safetensors.numpy import load_file

from tests.docs.pages import blocks, readme_walk
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
