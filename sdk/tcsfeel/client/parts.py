"""A download on its way into a file: what has come stands beside the target until it is complete.

The directory may be one that others write into, and several downloads of the same file may be under way. So a part is
a file that this user made, is never reached through a link, and is locked while a download writes into it. A part that
is not locked was left by a download that ended early, and is taken up.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable
from io import BufferedRandom
from pathlib import Path

from tcsfeel.private import opener

_NAME = re.compile(r"([0-9a-f]{64})(\.[0-9a-f]{16})?\.part")

if sys.platform == "win32":

    def _locked(file: BufferedRandom) -> bool:  # noqa: ARG001  (as below)
        """Take the file for this download: here no other process can remove a file that is open."""
        return True

else:
    import fcntl

    def _locked(file: BufferedRandom) -> bool:
        """Take the file for this download. False where another download has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


class PartFile:
    """Keeps the bytes of a version in a file beside the target, whose name holds the version's: ``.NAME.SHA256.part``.

    Where another download has that file, or something else is there, the name gets a random part.
    """

    def __init__(self, target: Path, bounded: Callable[[int], None]) -> None:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        self.etag = ""
        self._target = target
        self._bounded = bounded
        self._path = target
        self._file: BufferedRandom | None = None
        self._size = 0
        self._take_up()

    def size(self) -> int:
        """Say how many bytes there are."""
        return self._size

    def begin(self, etag: str) -> None:
        """Begin a version at its first byte."""
        self.discard()
        self.etag = etag
        for suffix in ("", *(f".{secrets.token_hex(8)}" for _ in range(3))):
            path = self._target.with_name(f".{self._target.name}.{etag}{suffix}.part")
            with contextlib.suppress(FileExistsError):
                file = open(path, "x+b", opener=opener)  # noqa: SIM115  (closed by the call)
                if _locked(file):
                    self._file, self._path = file, path
                    return
                file.close()  # another download has found it and taken it up
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises `UnexpectedAnswer` where it makes the file too large."""
        self._bounded(self._size + len(piece))
        if self._file is not None:
            self._file.write(piece)
            self._size += len(piece)

    def digest(self) -> str:
        """Give the SHA-256 of what has come."""
        if self._file is None:
            return hashlib.sha256().hexdigest()
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def discard(self) -> None:
        """Remove what has come."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
        self.close()
        self._size = 0

    def finish(self) -> None:
        """Put the file where it belongs, complete and on the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._path.replace(self._target)

    def close(self) -> None:
        """Close the file. What is in it can be taken up by a later download."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _take_up(self) -> None:
        """Go on from the newest part that an earlier download left, and remove the others."""
        for path in self._target.parent.iterdir():
            named = _NAME.fullmatch(path.name.removeprefix(f".{self._target.name}."))
            if named is None or not path.name.startswith(f".{self._target.name}."):
                continue
            file = _taken(path)
            if file is None:
                continue
            if self._file is not None and _age(file) < _age(self._file):
                path.unlink(missing_ok=True)
                file.close()
                continue
            self.discard()
            self.etag, self._file, self._path = named[1], file, path
            self._size = file.seek(0, os.SEEK_END)


def _taken(path: Path) -> BufferedRandom | None:
    """Open and lock a part. `None` for one that another download has, and for what this user did not make as a part."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = open(os.open(path, flags), "r+b")  # noqa: SIM115, PTH123  (closed by the call; a descriptor is no path)
    except OSError:
        return None
    found = os.fstat(file.fileno())
    ours = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == getattr(os, "geteuid", int)()
    if ours and _locked(file) and _is_at(path, found):
        return file
    file.close()
    return None


def _is_at(path: Path, found: os.stat_result) -> bool:
    """Say whether the file is still there: another download may have finished with it."""
    try:
        now = path.lstat()
    except OSError:
        return False
    return (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino)


def _age(file: BufferedRandom) -> float:
    return os.fstat(file.fileno()).st_mtime
