"""Keep the files of ended rounds, to write the next round's answers into them.

A new file costs more than the bytes that are written into it: the system makes and frees an inode, blocks and pages.
Writing a megabyte into a file that exists takes a fifth of the time.

A thread of a round that has ended may still read a file while it is written again. It then reads wrong bytes, which do
not matter any more. But it must never read beyond the end of the file, because the system would end the process. So a
file is used again only for a content that has as many pages.
"""

import secrets
import shutil
import time
from collections import defaultdict, deque
from contextlib import suppress
from pathlib import Path
from threading import Lock

from tcsfeel import private

SPARE_BYTES = 1 << 29
"""How many bytes the spare files of a process may have."""
LEAST_FREE_BYTES = 1 << 29
"""No more files are kept if the disk has less room than this."""
SPARE_SECONDS = 600.0
"""For how long a file is kept that no round needs."""

_PAGE = 1 << 12


class SpareFiles:
    """The spare files of a process. Threads may use it.

    A spare file contains what an agent sent, or the beginning of what one is sending. None of it is ever read.
    """

    def __init__(self, most: int = SPARE_BYTES) -> None:
        self._room = most
        self._lock = Lock()
        self._files: defaultdict[int, deque[tuple[Path, float]]] = defaultdict(deque)  # by the number of their pages

    def take(self, size: int) -> Path | None:
        """Return a file that can be written with this many bytes, which belongs to the caller then. None if none is."""
        pages = _pages(size)
        with self._lock:
            files = self._files.get(pages)
            if not files:
                return None
            path, _ = files.pop()
            if not files:
                del self._files[pages]
            self._room += pages * _PAGE
        return path

    def give(self, path: Path, into: Path) -> bool:
        """Move a file to the directory `into`, and keep it there. False if there is no room.

        Raises `OSError`.
        """
        pages = _pages(path.stat().st_size)
        with self._lock:
            if not pages or pages * _PAGE > self._room:
                return False
            self._room -= pages * _PAGE
        spare = into / secrets.token_hex(8)
        kept = False
        try:
            private.make_directory(into)
            if shutil.disk_usage(into).free >= LEAST_FREE_BYTES:
                path.replace(spare)
                kept = True
        finally:
            with self._lock:
                if kept:
                    self._files[pages].append((spare, time.monotonic()))
                else:
                    self._room += pages * _PAGE
        return kept

    def sweep(self, directory: Path, seconds: float) -> None:
        """Remove the files in a directory that no round has needed for a while, and those of other processes.

        Other processes may still use a file to which something was written in the last `seconds`.
        """
        needed = time.monotonic() - SPARE_SECONDS
        old = list[Path]()
        with self._lock:
            for pages, files in list(self._files.items()):
                while files and files[0][1] < needed:
                    old.append(files.popleft()[0])
                    self._room += pages * _PAGE
                if not files:
                    del self._files[pages]
            kept = {path for files in self._files.values() for path, _ in files}
        left = [path for path in directory.glob("*") if path not in kept]
        for path in old + left:
            with suppress(OSError):
                if path in old or time.time() - path.stat().st_mtime > seconds:
                    path.unlink()


def _pages(size: int) -> int:
    return -(-size // _PAGE)
