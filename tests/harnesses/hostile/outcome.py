"""Define the parameters and the results of a run."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

MIB = 1 << 20
Floor = Literal["same-core", "other-core"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The parameters of a run: the seconds and the number of its periods, and the callers that attack (names, or all).

    Attributes:
        shifts: into how many shifts the attackers are divided, of which one attacks in each period.
        attack: the seconds of all attacks together.
        core: the core of the server; None if it shares all cores with the other processes.
        floor: where a second server runs that is attacked in place of the first; None for no such server.
        apart: whether the API has a process of its own.
    """

    calm: float = 10.0
    attack: float = 90.0
    periods: int = 2
    shifts: int = 1
    callers: str = "all"
    core: int | None = None
    floor: Floor | None = None
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """A measurement of the server: unix seconds, bytes of anonymous memory, and bytes of the model files and spools."""

    at: float
    memory: int
    disk: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Period:
    """A calm time or an attack: its begin and end, the processor seconds of the server, and the load of the machine."""

    hostile: bool
    start: float
    end: float
    processor: float
    load: float


@dataclass(kw_only=True)
class Outcome:
    """The results of a run. Times are unix seconds.

    Attributes:
        periods: the calm times and attacks in turn, with a calm time at both ends.
        seen: what callers saw, by caller.
        rounds: the rounds of the attacked trainings, as the API shows them, by the name of the training.
        quiet: the rounds of the quiet fleet, oldest first.
        health: the seconds that each `GET /healthz` took in attacks.
        refused: the wrong statuses of heartbeats that should have been 204.
        asked: when a good caller asked for a client, with the seconds until it had the answer.
        clients: the resources of the hostile clients at the end of each attack.
        unexplained: what is wrong with models that the updates of honest agents do not explain.
        audit: the records of the audit trail.
        at_once: how many kinds of agents and callers attacked at once, in each attack.
        left: the bytes in the spools after the rounds ended.
        gone: how it was noticed that the server does not answer any more.
    """

    samples: list[Sample] = field(default_factory=list)
    periods: list[Period] = field(default_factory=list)
    holds: list[float] = field(default_factory=list)
    seen: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    quiet: list[dict[str, Any]] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    asked: list[tuple[float, float]] = field(default_factory=list)
    clients: list[dict[str, Any]] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    audit: list[dict[str, Any]] = field(default_factory=list)
    at_once: list[int] = field(default_factory=list)
    left: int = 0
    log: str = ""
    status: int = 0
    gone: str | None = None

    def note(self, file: Path) -> None:
        """Add what callers saw in an attack."""
        if file.exists():
            for caller, seen in json.loads(file.read_text()).items():
                self.seen[caller].update(seen)
