"""What a server's process is given before it serves."""

import resource
import subprocess
import sys
from typing import Any

FILES = """
import resource
from app import interpreter
interpreter.tune()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""
LIBRARIES = """
import sys, threading
from app import interpreter
interpreter.tune()
for thread in threading.enumerate():
    if thread.name == "prepare":
        thread.join()
print(*("networkit" in sys.modules, *(name in sys.modules for name in interpreter.DRAWING)))
import sklearn
"""


def run(code: str, **options: Any) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, **options)  # noqa: S603  (ours)
    return str(done.stdout).split()


def test_a_server_may_open_as_many_files_as_its_user_may() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = run(FILES, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)))
    assert few == [str(hard), str(hard)]


def test_what_only_draws_is_not_loaded_and_can_be_all_the_same() -> None:
    assert run(LIBRARIES) == ["True", "False", "False"]
