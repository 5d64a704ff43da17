"""Let a replica fail by itself at named points of its work. This is only installed in the process of a replica.

- A *kill* sends SIGKILL to the own process.
- A *stall* suspends the process. Time passes for all others, but its own monotonic clock stands still, like that of a
  virtual machine that is paused and resumed. The replica cannot notice that its lease has ended; only the fence can.
- A *repeat* does a write again, like an owner that has lost the answer to its commit: a settled update is settled
  again, and a round that has its model commits another one.

While the file `switch` exists, a random number decides at every point whether a fault happens. A fault writes a line to
`record` before it happens.
"""

import contextlib
import fcntl
import functools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.exc import IntegrityError

from app.domain.errors import IllegalTransition
from app.domain.rounds import Round
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.model_ledger import ModelLedger
from app.services.rounds.transitions import Transitions
from app.services.running.coordinator import Coordinator
from app.services.tasks.agents import AgentCaller
from app.store.leases import Lease, LeaseRepository
from app.store.model_store import StoredFile
from app.store.models import ModelVersionRepository
from app.store.rounds import RoundRepository

STEPS = (
    "initial_model", "planned", "settled", "frozen", "committed", "asked", "evaluated", "measured",
)  # fmt: skip
PLACES: Mapping[str, tuple[type, str]] = {"initial_model": (ModelLedger, "begin")}
"""Steps that are no method of the same name of `RoundLedger`."""
BEFORE = tuple(f"before {step}" for step in STEPS)
AFTER = tuple(f"after {step}" for step in STEPS)
# in a transaction that has written something and is not committed yet
INSIDE = (
    "inside claim", "inside round", "inside planned", "inside settled", "inside committed", "inside asked",
    "inside measured",
)  # fmt: skip
BETWEEN = ("claimed", "round begun", "before hand-over", "after hand-over", "answer in the spool", "before release")
POINTS = (*BEFORE, *AFTER, *INSIDE, *BETWEEN)
REPEATABLE = ("settled", "committed")

Method = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """The faults that a process of a replica may have. The probabilities are for each time that a point is reached.

    With `stalls_alone` a replica stalls only while no other one does, so that another one can take over.
    """

    switch: Path
    record: Path
    seed: str = ""
    kills: Mapping[str, float] = field(default_factory=dict)
    stalls: Mapping[str, float] = field(default_factory=dict)
    repeats: Mapping[str, float] = field(default_factory=dict)
    stall_seconds: tuple[float, float] = (1.5, 2.5)
    stalls_alone: bool = False

    def recorded(self) -> Counter[str]:
        """Count how often each fault has happened, by "kind point"."""
        return Counter(self.record.read_text().splitlines()) if self.record.exists() else Counter()


def install(faults: Faults) -> None:
    """Install `faults` in this process."""
    Injector(faults).install()


class Injector:
    """Causes the faults of one process when it reaches a point."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._rng = random.Random(faults.seed)  # noqa: S311  (chance, not secrets)
        self._suspended = 0.0

    def install(self) -> None:
        running = time.monotonic
        time.monotonic = lambda: running() - self._suspended  # which is also the clock of asyncio
        for step in REPEATABLE:
            self._replace(RoundLedger, step, functools.partial(self._repeating, step))
        for step in STEPS:
            owner, name = PLACES.get(step, (RoundLedger, step))
            self._pass(owner, name, before=f"before {step}", after=f"after {step}")
        self._pass(LeaseRepository, "claim", after="inside claim")
        self._pass(RoundRepository, "add", after="inside round")
        self._pass(RoundRepository, "add_participations", after="inside planned")
        self._pass(RoundRepository, "settle", after="inside settled")
        self._pass(RoundRepository, "add_evaluations", after="inside asked")
        self._pass(ModelVersionRepository, "add", after="inside committed")
        self._pass(Transitions, "close", after="inside measured")
        self._pass(Coordinator, "_own", before="claimed")
        self._pass(Coordinator, "_next", after="round begun")
        self._pass(Coordinator, "_release", before="before release")
        self._pass(AgentCaller, "hand_over", before="before hand-over", after="after hand-over")
        self._pass(AgentCaller, "poll", after="answer in the spool")

    def reach(self, point: str) -> None:
        """Cause the faults of a point, which may end the process here."""
        if not self._faults.switch.exists():
            return
        if self._rng.random() < self._faults.kills.get(point, 0.0):
            self._write(f"kill {point}")
            os.kill(os.getpid(), signal.SIGKILL)
        if self._rng.random() < self._faults.stalls.get(point, 0.0):
            self._stall(point)

    def _stall(self, point: str) -> None:
        with self._faults.record.open("a") as file:
            if self._faults.stalls_alone:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
            self._write(f"stall {point}")
            seconds = self._rng.uniform(*self._faults.stall_seconds)
            time.sleep(seconds)
            self._suspended += seconds

    def _pass(self, owner: type, name: str, *, before: str | None = None, after: str | None = None) -> None:
        async def passing(method: Method, *args: Any, **kwargs: Any) -> Any:
            if before is not None:
                self.reach(before)
            result = await method(*args, **kwargs)
            if after is not None:
                self.reach(after)
            return result

        self._replace(owner, name, passing)

    async def _repeating(
        self, step: str, method: Method, ledger: RoundLedger, lease: Lease, round_: Round, *args: Any, **kwargs: Any
    ) -> Any:
        result = await method(ledger, lease, round_, *args, **kwargs)
        if self._faults.switch.exists() and self._rng.random() < self._faults.repeats.get(step, 0.0):
            self._write(f"repeat {step}")
            if step == "committed":  # another model than before, so that the two can be told apart
                args = (StoredFile(round_.base_model or "", 0),)
            with contextlib.suppress(IntegrityError, IllegalTransition):
                await method(ledger, lease, round_, *args, **kwargs)
        return result

    def _replace(self, owner: type, name: str, replacement: Callable[..., Awaitable[Any]]) -> None:
        method: Method = getattr(owner, name)

        @functools.wraps(method)
        async def replaced(*args: Any, **kwargs: Any) -> Any:
            return await replacement(method, *args, **kwargs)

        setattr(owner, name, replaced)

    def _write(self, line: str) -> None:
        """Write a line to the record in one piece, before the process can die."""
        descriptor = os.open(self._faults.record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)
