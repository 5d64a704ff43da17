"""Keep what a server has in its data directory from other users.

New files are made with their modes (`tcsfeel.private`). Existing ones with a looser mode are corrected at the start,
but only those that a server makes: the directory may have been chosen badly.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from tcsfeel.private import FILE_MODE, OTHERS, make_directory, opener

BLOCK = 4096
NAMES = frozenset(
    {
        "admin-key",
        "audit-unwritten.jsonl",
        "tcsfeel.db",
        "tcsfeel.db-wal",
        "tcsfeel.db-shm",
        "tcsfeel.db-journal",
        "models",
        "model-cache",
        "spool",
    }
)
"""What a server makes in its data directory."""


def prove_writable(directory: Path) -> None:
    """Make a directory if it is missing, and write and remove a file in it. Raises `OSError`."""
    make_directory(directory)
    path = directory / f".{secrets.token_hex(8)}-can-be-written"
    try:
        with open(path, "xb", opener=opener) as file:
            file.write(bytes(BLOCK))
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)


def make_file(path: str) -> None:
    """Make an empty file that only this user can read, unless it exists.

    An existing file is not opened, because closing it would release every lock of this process on it, including those
    of an SQLite database, and other processes could then write at the same time.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))


def tighten(data_dir: Path) -> tuple[list[Path], list[Path]]:
    """Remove other users' permissions from a server's files in its data directory.

    Returns what was changed, and what others can still read because it belongs to another user or holds other things.
    """
    changed: list[Path] = []
    left: list[Path] = []
    for path in _kept(data_dir):
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) or not mode & OTHERS:
                continue
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)
            changed.append(path)
        except PermissionError:
            left.append(path)
        except FileNotFoundError:  # another process has just removed it
            continue
    if data_dir.stat().st_mode & OTHERS and data_dir not in changed:
        left.append(data_dir)
    return changed, left


def _kept(data_dir: Path) -> Iterator[Path]:
    present = sorted(data_dir.iterdir())
    if all(path.name in NAMES for path in present):
        yield data_dir
    for path in present:
        if path.name in NAMES:
            yield path
            if not path.is_symlink():
                yield from sorted(path.rglob("*"))
