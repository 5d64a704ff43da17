"""Build the wheels and the source distributions of the library and the service."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SDIST = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"


def copied(directory: Path) -> Path:
    """Copy what both distributions are built from, since a build leaves files beside its sources."""
    source = directory / "source"
    for name in ("sdk", "app", "migrations", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, source / name)
    return source


def wheels_of(source: Path, wheels: Path) -> Path:
    """Build both wheels."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    run([*pip, "--wheel-dir", wheels, source / "sdk", source])
    return wheels


def sdists_of(source: Path, sdists: Path) -> Path:
    """Build both source distributions."""
    for place in (source / "sdk", source):
        run([sys.executable, "-c", SDIST, sdists], cwd=place)
    return sdists


def run(command: list[Any], **settings: Any) -> str:
    """Run a command to its end and give its output; an error of it ends the run with what it said."""
    done = finished(command, **settings)
    if done.returncode:
        raise SystemExit(f"{' '.join(done.args)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def finished(command: list[Any], **settings: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    words = [str(word) for word in command]
    return subprocess.run(  # noqa: S603  (commands of ours)
        words, capture_output=True, text=True, check=False, timeout=600, **settings
    )
