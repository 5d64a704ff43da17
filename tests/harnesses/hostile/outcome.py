"""What a run is told to do, and what is seen in it."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

MIB = 1 << 20
Floor = Literal["same-core", "other-core"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """How long the times are (seconds), how often they take turns, and which callers attack: names, or all.

    Attributes:
        attack: seconds of all attacks together.
        core: of the server; None where it shares all of them with everybody.
        floor: where a second server runs that is attacked in place of the first; None for no such server.
    """

    calm: float = 10.0
    attack: float = 90.0
    periods: int = 2
    callers: str = "all"
    core: int | None = None
    floor: Floor | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment: unix seconds, bytes of anonymous memory, bytes of the model files and spools."""

    at: float
    memory: int
    disk: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Period:
    """A calm time or an attack: from when to when, processor seconds of the server, and the machine's load."""

    hostile: bool
    start: float
    end: float
    processor: float
    load: float


@dataclass(kw_only=True)
class Outcome:
    """What was seen. Instants are unix seconds.

    Attributes:
        periods: calm times and attacks in turn; the first and the last are calm.
        seen: what callers saw, by caller.
        rounds: of the attacked trainings, as the API shows them, by the training's name.
        quiet: the rounds of the quiet fleet, oldest first.
        health: seconds that `GET /healthz` took while the attack lasted.
        refused: statuses of heartbeats with a body, sent with the key, that should have been 204.
        gone: how the run found out that the server does not answer any more.
    """

    samples: list[Sample] = field(default_factory=list)
    periods: list[Period] = field(default_factory=list)
    holds: list[float] = field(default_factory=list)
    seen: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    quiet: list[dict[str, Any]] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    log: str = ""
    status: int = 0
    gone: str | None = None

    def note(self, file: Path) -> None:
        """Add what callers saw in one attack."""
        if file.exists():
            for caller, seen in json.loads(file.read_text()).items():
                self.seen[caller].update(seen)
