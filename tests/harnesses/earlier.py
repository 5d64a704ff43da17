"""Run replicas of an earlier revision of this repository beside those of the code as it is.

The revision is checked out into ``build/upgrade`` and installed there, without its dependencies if its lock is ours.
"""

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.harnesses.replicas import Replica, Replicas

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "upgrade"
LOCK = "requirements.lock"
# A process that ends when its standard input does, which is when the harness has ended, however that happened.
LEASHED = """
import os, socket, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
name, *sys.argv[1:] = sys.argv[1:]
socket.gethostname = lambda: name
from tcsfeel.cli import main
main()
"""


@dataclass(frozen=True)
class Earlier:
    """An installed revision: the interpreter that runs it, and the directories in which it finds itself first."""

    revision: str
    python: Path
    path: tuple[Path, ...]

    def run(self, environment: Mapping[str, str], *arguments: str) -> None:
        """Run a command of it to its end. Raises `subprocess.CalledProcessError`."""
        command = [str(self.python), "-P", "-c", "from tcsfeel.cli import main; main()", *arguments]
        subprocess.run(command, env=self.environment(environment), cwd="/", check=True)  # noqa: S603  (ours)

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        path = [str(place) for place in self.path]
        return {
            **given,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([*path, given.get("PYTHONPATH", "")]),
        }


def installed(revision: str) -> Earlier:
    """Check a revision out and install it, unless that was done before. Raises `subprocess.CalledProcessError`."""
    full = _git("rev-parse", "--verify", f"{revision}^{{commit}}")
    place = PLACE / full[:12]
    checkout, program, own = place / "checkout", place / "installed", place / "venv"
    if not checkout.exists():
        PLACE.mkdir(parents=True, exist_ok=True)
        _git("worktree", "prune")
        _git("worktree", "add", "--detach", str(checkout), full)
    python = Path(sys.executable)
    if (checkout / LOCK).read_bytes() != (ROOT / LOCK).read_bytes():
        python = own / "bin" / "python"
        if not (place / "locked").exists():
            venv.create(own, clear=True, with_pip=True)
            _pip(python, "--require-hashes", "-r", str(checkout / LOCK))
            (place / "locked").touch()
    if not program.exists():
        where = ["--target", str(program), str(checkout / "sdk"), str(checkout)]
        _pip(python, "--no-index", "--no-deps", "--no-build-isolation", *where)
    return Earlier(full[:12], python, (program, checkout))  # the tests of the checkout have strategies of the harness


def _pip(python: Path, *arguments: str) -> None:
    options = ("--quiet", "--disable-pip-version-check")
    subprocess.run([python, "-m", "pip", "install", *options, *arguments], check=True)  # noqa: S603  (ours)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True)  # noqa: S603, S607  (ours; git is looked up like a user's)
    return done.stdout.strip()


class Program:
    """A process with the few methods of those that are forked."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = process.pid

    @property
    def exitcode(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        self._process.kill()

    def join(self) -> None:
        self._process.wait()

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()


@dataclass
class MixedReplicas(Replicas):
    """Replicas of which some run an earlier revision: those whose numbers are in `behind`, as soon as they start.

    Without `earlier`, they run the code as it is.
    """

    earlier: Earlier | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.behind = {replica.number for replica in self.all}

    def start(self, replica: Replica) -> None:
        if self.earlier is None or replica.number not in self.behind:
            super().start(replica)
            return
        replica.lives += 1
        command = [str(self.earlier.python), "-P", "-c", LEASHED, replica.name[:-1]]
        command += ["serve", "--host", "127.0.0.1", "--port", str(replica.port)]
        with self.log(replica).open("ab") as log:
            replica.process = Program(
                subprocess.Popen(  # noqa: S603  (ours)
                    command,
                    env=self.earlier.environment(self.environment_of()),
                    cwd="/",
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                )
            )
