"""Run modules of the dashboard with Node, where there is one: they are plain ES modules."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NODE = shutil.which("node")
FOLDER = Path(__file__).parent.parent / "app" / "dashboard"
needs_node = pytest.mark.skipif(NODE is None, reason="there is no Node on this machine")


def run(directory: Path, script: str, given: Any) -> Any:
    """Run a script that ends with `return`; `given` is the value that it works on, and modules are beside it."""
    assert NODE is not None
    shutil.copytree(FOLDER, directory, dirs_exist_ok=True)
    (directory / "package.json").write_text('{"type": "module"}')
    (directory / "given.json").write_text(json.dumps(given))
    (directory / "run.js").write_text(
        'import { readFileSync } from "node:fs";\n'
        'const given = JSON.parse(readFileSync(new URL("given.json", import.meta.url)));\n'
        f"const work = async () => {{ {script} }};\n"
        "console.log(JSON.stringify(await work()));\n"
    )
    command = [NODE, str(directory / "run.js")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603  (our own)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
