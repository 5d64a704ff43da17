"""Subprocesses that end with the one that started them, however that ends.

A child runs as ``python -P -m app.demo.leash module:function ARGUMENTS`` and holds the reading end of a pipe on stdin.
Nothing is ever written to it. When the parent lets go of its end, or dies and the kernel does, the child sends itself
SIGTERM, and a little later leaves the hard way. Children have a session of their own, so that
Ctrl-C reaches the parent alone and they end in the order that it chooses.
"""

import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from app.demo.errors import DemoFailed

PATIENCE = 10.0  # s between SIGTERM and the hard way


class Child:
    """A subprocess on a leash; what it prints goes to `log`. `name` is for messages."""

    def __init__(self, name: str, target: str, *arguments: str, log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  (this interpreter and arguments of ours)
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "app.demo.leash",
                    target,
                    *arguments,
                ],  # -P: not from the working directory
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises `DemoFailed` once the child has ended."""
        status = self._process.poll()
        if status is not None:
            raise DemoFailed(f"{self.name} ended with status {status}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line of the log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it printed nothing"

    def let_go(self) -> None:
        """Tell the child to end."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> None:
        """Return once the child has ended; one that does not within its patience is killed."""
        try:
            self._process.wait(PATIENCE + 2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def follow() -> None:
    """End this process soon after stdin ends."""
    while os.read(0, 1 << 12):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


def main() -> None:
    """Run ``module:function`` with the rest of the arguments as its ``sys.argv``."""
    _, target, *arguments = sys.argv
    sys.argv = [target, *arguments]
    threading.Thread(target=follow, name="leash", daemon=True).start()
    function = pkgutil.resolve_name(target)
    function()


if __name__ == "__main__":
    main()
