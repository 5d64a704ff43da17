"""The audit trail of one process: calls are noted in memory, and a moment later written together.

No change is made whose record might find no place: a call that changes something takes a place before it is carried
out, and is refused if none is free (ADR 0017). Downloads are refused as well then. Refusals need no place: `Tally`
bounds them. What a killed process had noted in its last moment is lost; the trail then shows its start, but no stop.
"""

import asyncio
import json
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import structlog

from app.clock import Clock
from app.domain.audit import KINDS, SERVER_ROLE, STATUSES, AuditRecord, Call, Head, Tally
from app.store.audit import AuditFilter
from app.store.database import Database, in_a_line, is_outage
from app.store.reading import Part
from tcsfeel import private
from tcsfeel.errors import Picklable

MOST_WAITING = 2_000  # records that may wait in memory: some 2 MB
WRITTEN_TOGETHER = 200  # some 10 ms of a transaction
DELAY_SECONDS = 0.25  # from the first of some records until they are written
CLOSE_SECONDS = 5.0
UNWRITTEN = "audit-unwritten.jsonl"

log = structlog.get_logger(__name__)


class AuditTrailFull(Picklable):
    """The call would change something or download a model, and there is no place for its audit record."""

    def __init__(self) -> None:
        super().__init__("this call is recorded in the audit trail, which cannot be written fast enough: try again")


class AuditTrail:
    """Notes calls, writes them by `write_db`, and reads the trail by `db`.

    Attributes:
        note_waiting: called with the number of records that wait, whenever it changes.
    """

    def __init__(
        self,
        db: Database,
        write_db: Database,
        clock: Clock,
        *,
        name: str,
        directory: Path,
        most: int = MOST_WAITING,
        delay: float = DELAY_SECONDS,
    ) -> None:
        self._db = db
        self._write_db = write_db
        self._clock = clock
        self._name = name
        self._directory = directory
        self._most = most
        self._delay = delay
        self._taken = 0
        self._waiting: deque[tuple[Call, float]] = deque()
        self._downloads = Tally(kinds_of_actor=KINDS, merges=False)
        self._tally = Tally()
        self._wanted = asyncio.Event()
        self._writing = asyncio.Lock()
        self._failing = False
        self._task: asyncio.Task[None] | None = None
        self.note_waiting: Callable[[int], None] = lambda _: None

    @property
    def is_full(self) -> bool:
        """Tell whether no place is free."""
        return self._taken + len(self._waiting) >= self._most

    def take_place(self) -> None:
        """Keep a place for a record that `record` or `give_back_place` will use. Raises `AuditTrailFull`."""
        self.check_place()
        self._taken += 1

    def check_place(self) -> None:
        """Check that a place is free, but keep none: a slow download must not have one. Raises `AuditTrailFull`."""
        if self.is_full:
            raise AuditTrailFull

    def give_back_place(self) -> None:
        """Let others use a place that was taken."""
        self._taken -= 1

    def record(self, call: Call) -> None:
        """Note a call that has a record of its own."""
        self._waiting.append((call, self._clock.now()))
        self._changed()

    def count(self, call: Call) -> None:
        """Note a call that is recorded together with identical ones. One that succeeds is never merged with others."""
        tally = self._downloads if call.status <= STATUSES["done"][1] else self._tally
        first = tally.note(call, self._clock.now(), later=self.is_full)
        if first is not None:
            self._waiting.append((first, self._clock.now()))
        self._changed()

    async def run(self) -> None:
        """Write what was noted until cancelled; a write that fails is made again."""
        self.record(Call(actor=self._name, role=SERVER_ROLE, operation="start"))
        while True:
            await self._wanted.wait()
            await asyncio.sleep(self._delay)
            # A cancellation must not interrupt a commit, after which nobody would know whether the records are written.
            self._task = asyncio.create_task(self._tried())
            await asyncio.shield(self._task)

    async def write(self) -> None:
        """Write what was noted. Raises the error of the database."""
        try:
            async with self._writing:
                await self._write()
        except Exception as error:
            if not self._failing:
                tell = log.warning if is_outage(error) else log.error  # other loops tell of an outage as an error
                tell("audit records cannot be written", waiting=len(self._waiting), reason=in_a_line(error))
            self._failing = True
            raise
        if self._failing:
            log.info("audit records can be written again")
        self._failing = False

    async def close(self) -> None:
        """Write everything, once `run` is cancelled. What the database does not take is kept in a file."""
        self._collect(everything=True)
        self.record(Call(actor=self._name, role=SERVER_ROLE, operation="stop"))
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._tried()
        if self._waiting:
            self._keep()

    async def after(self, sequence: int, *, only: AuditFilter, limit: int) -> Part[AuditRecord]:
        """Read records beyond a number, with everything that this process has noted."""
        await self.write()
        async with self._db.read() as tx:
            return await tx.audit.after(sequence, only=only, limit=limit)

    async def head(self) -> Head:
        """Read the newest record's number and hash, once everything that this process has noted is written."""
        await self.write()
        async with self._db.glance() as tx:
            return await tx.audit.head()

    async def _tried(self) -> None:
        with suppress(Exception):  # which `write` has logged
            await self.write()

    async def _write(self) -> None:
        self._collect()
        while self._waiting:
            some = [self._waiting[at] for at in range(min(len(self._waiting), WRITTEN_TOGETHER))]
            now = self._clock.now()
            async with self._write_db.begin() as tx:
                await tx.audit.append([(call, now - noted_at) for call, noted_at in some])
            for _ in some:
                self._waiting.popleft()
            self._changed()

    def _collect(self, *, everything: bool = False) -> None:
        """Take the calls whose minute of counting is over."""
        if everything or not self.is_full:
            now = self._clock.now()
            for tally in (self._downloads, self._tally):
                self._waiting.extend((call, now) for call in tally.due(now, everything=everything))
        self._changed()

    def _changed(self) -> None:
        if self._waiting or len(self._downloads) or len(self._tally):
            self._wanted.set()
        else:
            self._wanted.clear()
        self.note_waiting(len(self._waiting))

    def _keep(self) -> None:
        """Write what could not be written to the database into a file."""
        path = self._directory / UNWRITTEN
        lines = [
            json.dumps({"at": at} | asdict(call) | {"parameters": dict(call.parameters)}) for call, at in self._waiting
        ]
        log.error("audit records are kept in a file, since the database took none", records=len(lines), file=str(path))
        private.make_directory(self._directory)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, private.FILE_MODE)
        with os.fdopen(descriptor, "a") as file:
            file.writelines(f"{line}\n" for line in lines)
