"""Run subprocesses that end together with their parent, even if the parent is killed.

A child runs as ``python -P -m app.demo.leash module:function ARGUMENTS``. Its stdin is the reading end of a pipe to
which nothing is ever written. When the parent closes its end, or dies so that the kernel closes it, the child sends
itself SIGTERM, and some seconds later it exits at once. Children have a session of their own, so that Ctrl-C reaches
only the parent, which ends them in the right order.
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

PATIENCE = 10.0  # seconds between SIGTERM and an exit at once


class Child:
    """A subprocess that ends with its parent. Its output goes to `log`, and messages call it `name`."""

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
                ],  # -P: nothing is imported from the working directory
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
        """Raise `DemoFailed` if the child has ended."""
        status = self._process.poll()
        if status is not None:
            raise DemoFailed(f"{self.name} ended with status {status}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last line of the log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it printed nothing"

    def let_go(self) -> None:
        """Tell the child to end."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> None:
        """Wait until the child has ended. Kill it if that takes too long."""
        try:
            self._process.wait(PATIENCE + 2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def follow() -> None:
    """End this process soon after its stdin has been closed."""
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
