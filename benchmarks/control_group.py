"""A limit on a process's memory that the kernel holds it to, page cache included: it kills what cannot keep to it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

FIRST = Path("/sys/fs/cgroup/memory")
UNIFIED = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A group of version 1 or 2, with a limit."""

    directory: Path
    peak_file: str

    @classmethod
    def make(cls, limit: int) -> Self | None:
        """A group below this process's own one, None where none may be made."""
        paths = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        own = {controllers: path.lstrip("/") for _, controllers, path in paths}
        name = f"tcsfeel-bench-{os.getpid()}"
        versions = (
            (FIRST / own.get("memory", "") / name, "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
            (UNIFIED / own.get("", "") / name, "memory.max", "memory.peak"),
        )
        for directory, limit_file, peak_file in versions:
            try:
                directory.mkdir()
            except OSError:
                continue
            try:
                (directory / limit_file).write_text(str(limit))
            except OSError:
                directory.rmdir()
                continue
            return cls(directory, peak_file)
        return None

    def take_in(self, pid: int) -> None:
        """Put a process into the group, with all that it allocates from now on."""
        (self.directory / "cgroup.procs").write_text(str(pid))

    def peak(self) -> float:
        """MB that the group held at its height; up to the limit it holds files' pages that nobody else wants."""
        return int((self.directory / self.peak_file).read_text()) / 1e6


@contextmanager
def limited(limit: int) -> Iterator[ControlGroup | None]:
    """A group with so many bytes, removed in the end (its processes have to be gone); None where none may be made."""
    group = ControlGroup.make(limit)
    try:
        yield group
    finally:
        if group is not None:
            group.directory.rmdir()
