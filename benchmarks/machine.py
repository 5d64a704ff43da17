"""What the kernel counts, read from /proc: benchmarks need Linux.

A figure without the machine's load beside it says little: other people's work on a shared core, or a core that the
hypervisor gives to somebody else (steal), is in every latency.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

_TICK = os.sysconf("SC_CLK_TCK")
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of all cores since boot: at work for this machine, taken away by the hypervisor, and altogether."""

    busy: float
    steal: float
    total: float

    @classmethod
    def now(cls) -> Self:
        fields = [int(field) / _TICK for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        idle, iowait, steal = fields[3], fields[4], fields[7]
        return cls(sum(fields) - idle - iowait - steal, steal, sum(fields))

    def report(self, ours: float) -> str:
        """The machine since this instant, `ours` being the CPU seconds that the benchmark's own processes took."""
        now = Times.now()
        total = max(now.total - self.total, 1e-9)
        busy, steal = now.busy - self.busy, now.steal - self.steal
        others = max(0.0, busy - ours)
        shares = f"{busy / total:.0%} busy ({others / total:.0%} with others' work), {steal / total:.0%} stolen"
        return f"{os.cpu_count()} cores, {shares}, load {os.getloadavg()[0]:.1f}"


@dataclass(frozen=True, slots=True)
class Usage:
    """One process: CPU seconds so far, memory in MB (10^6 bytes) now and at its peak, open file descriptors."""

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


def cpu_seconds(pid: int | Literal["self"]) -> float:
    """User and system time of a process, all its threads included."""
    fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _megabytes(field: str) -> float:
    return int(field.split(maxsplit=1)[0]) * _KIB / 1e6
