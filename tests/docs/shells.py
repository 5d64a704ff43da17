"""Scripts of pages, run as somebody would type them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.servers import free_port


def shell(script: str, directory: Path, **variables: str) -> str:
    """The output of a script that has to succeed; what it left running is ended."""
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(directory)}
    with subprocess.Popen(  # noqa: S603  (our own pages)
        ["/bin/bash", "-c", f"trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\nset -euo pipefail\n{script}"],
        cwd=directory,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def apart(directory: Path) -> dict[str, str]:
    """Variables for a control plane of its own: port 8080 may be somebody else's."""
    port = str(free_port())
    return {
        "TCSFEEL_DATA_DIR": str(directory / "data"),
        "TCSFEEL_PORT": port,
        "TCSFEEL_SERVER": f"http://127.0.0.1:{port}",
    }
