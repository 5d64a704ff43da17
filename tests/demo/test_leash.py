import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.demo.errors import DemoFailed
from app.demo.leash import Child


def child(tmp_path: Path, target: str, *arguments: str) -> Child:
    return Child("the child", target, *arguments, log=tmp_path / "child.log", environment=dict(os.environ))


def test_a_child_that_is_let_go_ends(tmp_path: Path) -> None:
    held = child(tmp_path, "signal:pause")
    held.check()
    held.let_go()
    held.wait()
    with pytest.raises(DemoFailed, match="the child ended with status -15: it printed nothing"):
        held.check()


def test_a_child_that_broke_is_found_with_its_last_words(tmp_path: Path) -> None:
    held = child(tmp_path, "no.such.module:main")
    held.wait()
    with pytest.raises(DemoFailed, match="the child ended with status 1: ModuleNotFoundError: No module named 'no'"):
        held.check()
    held.let_go()


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "lives.py").write_text(
        "import os, signal, sys, time\n"
        "def parent():\n"
        "    from pathlib import Path\n"
        "    from app.demo.leash import Child\n"
        "    held = Child('it', 'lives:child', log=Path('child.log'), environment=os.environ)\n"
        "    time.sleep(60)\n"
        "def child():\n"
        "    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(print('told to end')))\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
    )
    log = tmp_path / "child.log"
    parent = subprocess.Popen(
        [sys.executable, "-c", "import lives; lives.parent()"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
    )
    try:
        wait_for(log, "up\n")
    finally:
        parent.kill()
        parent.wait()
    wait_for(log, "up\ntold to end\n")


def wait_for(log: Path, text: str) -> None:
    """The limit only ends a test that would hang."""
    given_up = time.monotonic() + 30
    while not (log.exists() and log.read_text() == text):
        assert time.monotonic() < given_up
        time.sleep(0.02)
