import os
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
    with pytest.raises(DemoFailed, match="the child ended with status -15: without a word"):
        held.check()


def test_a_child_that_broke_is_found_with_its_last_words(tmp_path: Path) -> None:
    held = child(tmp_path, "no.such.module:main")
    held.wait()
    with pytest.raises(DemoFailed, match="the child ended with status 1: ModuleNotFoundError: No module named 'no'"):
        held.check()
    held.let_go()
