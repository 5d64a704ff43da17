"""The README's walk-through, word for word, as a stranger would type it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from safetensors.numpy import load_file

from tests.e2e.servers import free_port

ROOT = Path(__file__).parents[2]
SECTION = "## A training with curl"


def test_the_walk_through_ends_with_a_trained_model(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text().split(SECTION)[1].split("\n## ")[0]
    (trainer,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    steps = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_trainer.py").write_text(trainer)
    port = free_port()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TCSFEEL_DATA_DIR": str(tmp_path / "data"),
        "TCSFEEL_PORT": str(port),  # 8080 may be somebody else's
        "TCSFEEL_SERVER": f"http://127.0.0.1:{port}",
    }
    with subprocess.Popen(  # noqa: S603  (our own README)
        ["/bin/bash", "-c", "trap 'kill $(jobs -p) 2>/dev/null' EXIT\nset -euo pipefail\n" + "\n".join(steps)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as shell:
        output, _ = shell.communicate(timeout=120)

    assert shell.returncode == 0, output
    assert "completed: target_accuracy" in output
    assert 'federated_round_accuracy{training="' in output
    assert load_file(tmp_path / "model.safetensors")["w"].shape == (64, 10)


def test_the_trainer_is_about_fifteen_lines() -> None:
    text = (ROOT / "README.md").read_text().split(SECTION)[1]
    (trainer,) = re.findall(r"```python\n(.*?)```", text.split("\n## ")[0], re.DOTALL)
    own = [line for line in trainer.splitlines() if line and not line.startswith(("#", "import", "from"))]
    assert len(own) <= 15
