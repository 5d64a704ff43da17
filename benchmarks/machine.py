"""Read the counters of the kernel from /proc. So the benchmarks need Linux.

A figure says little without the load of the machine. Every latency is longer if other processes use the cores, or if
the hypervisor gives a core to another machine (steal).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

_TICK = os.sysconf("SC_CLK_TCK")
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Times:
    """The seconds of all cores since the boot: those in use, those that the hypervisor took away, and all of them."""

    busy: float
    steal: float
    total: float

    @classmethod
    def now(cls) -> Self:
        fields = [int(field) / _TICK for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        idle, iowait, steal = fields[3], fields[4], fields[7]
        return cls(sum(fields) - idle - iowait - steal, steal, sum(fields))

    def report(self, ours: float) -> str:
        """Describe the load since these times. `ours` are the CPU seconds of the benchmark's own processes."""
        now = Times.now()
        total = max(now.total - self.total, 1e-9)
        busy, steal = now.busy - self.busy, now.steal - self.steal
        others = max(0.0, busy - ours)
        shares = f"{busy / total:.0%} busy ({others / total:.0%} with others' work), {steal / total:.0%} stolen"
        return f"{os.cpu_count()} cores, {shares}, load {os.getloadavg()[0]:.1f}"


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of a process: CPU seconds, memory in MB (10^6 bytes) now and at its peak, and open file descriptors."""

    cpu: float
    memory: float
    peak: float
    files: int

    @classmethod
    def of(cls, pid: int) -> Self:
        process = Path("/proc") / str(pid)
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return cls(
            cpu=cpu_seconds(pid),
            memory=_megabytes(status["VmRSS"]),
            peak=_megabytes(status["VmHWM"]),
            files=len(os.listdir(process / "fd")),  # noqa: PTH208  (counted, not walked)
        )


def file_bytes(pid: int) -> int:
    """Return how many bytes a process has read from files and written to files by calls of the system."""
    counted = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(counted["rchar"]) + int(counted["wchar"])


def cpu_seconds(pid: int | Literal["self"]) -> float:
    """Return the user and system time of a process with all its threads, in seconds."""
    fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _megabytes(field: str) -> float:
    return int(field.split(maxsplit=1)[0]) * _KIB / 1e6
