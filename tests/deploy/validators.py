"""The tools that check the files in deploy/ without an engine or a cluster: ``make validators`` installs them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / "build" / "validators" / "bin"


def tool(name: str) -> str:
    """Find a tool, or skip the test."""
    found = shutil.which(name, path=f"{INSTALLED}:{os.environ.get('PATH', os.defpath)}")
    if found is None:
        pytest.skip(f"there is no {name}: `make validators` installs it")
    return found


def ran(*command: str | Path, text: str | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a tool to its end. Its standard error follows its standard output."""
    return subprocess.run(  # noqa: S603  (our own arguments)
        [str(word) for word in command],
        cwd=ROOT,
        input=text,
        env={
            "PATH": f"{INSTALLED}:{os.environ.get('PATH', os.defpath)}",
            "HOME": os.environ.get("HOME", "/"),
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
