"""What a server's process is given before it serves."""

import resource
import subprocess
import sys

CODE = """
import resource
from app import interpreter
interpreter.tune()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_server_may_open_as_many_files_as_its_user_may() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    started = subprocess.run(  # noqa: S603  (this interpreter and code of ours)
        [sys.executable, "-c", CODE],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)),
    )
    assert started.stdout.split() == [str(hard), str(hard)]
