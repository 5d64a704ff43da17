"""Limit the memory of a process by the kernel, with its page cache. The kernel kills it if it needs more."""

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
    """A control group of version 1 or 2 with a memory limit."""

    directory: Path
    peak_file: str

    @classmethod
    def make(cls, limit: int) -> Self | None:
        """Make a group below that of this process. Returns None if this is not allowed."""
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
        """Put a process into the group. Everything that it allocates from now on counts."""
        (self.directory / "cgroup.procs").write_text(str(pid))

    def peak(self) -> float:
        """Return the peak memory of the group in MB. It has pages of files as well, as long as the limit allows."""
        return int((self.directory / self.peak_file).read_text()) / 1e6


@contextmanager
def limited(limit: int) -> Iterator[ControlGroup | None]:
    """Make a group with a limit in bytes, or None if this is not allowed. It is removed at the end."""
    group = ControlGroup.make(limit)
    try:
        yield group
    finally:
        if group is not None:
            group.directory.rmdir()
