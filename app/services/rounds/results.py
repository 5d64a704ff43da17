"""Check the results of clients' tasks, and turn them into participations."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from app.domain.clients import Client
from app.domain.evaluations import NOTHING_HELD_OUT
from app.domain.local_work import whole_seconds
from app.domain.measurements import lacking
from app.domain.rounds import Participation
from app.domain.tasks import Observation
from app.services.rounds.files import RoundFiles
from app.services.rounds.phase import Phase
from app.services.tasks.assignments import TaskOutcome
from app.services.tasks.breakers import Breakers
from app.threads import in_thread
from app.turns import Turns
from tcsfeel.aggregation import update_quality
from tcsfeel.errors import UpdateRejected
from tcsfeel.wire.tasks import TaskResult

_Found = TypeVar("_Found")


class Results:
    """Checks results. A bad one counts against its client."""

    def __init__(self, files: RoundFiles, breakers: Breakers) -> None:
        self._files = files
        self._breakers = breakers
        self._turns = Turns()

    async def measured(
        self, phase: Phase, part: Participation, client: Client, outcome: TaskOutcome
    ) -> tuple[Participation, Observation]:
        """Check what a client measured; a bad answer counts against it."""
        faulty = outcome.kind == "faulty"
        seen = Observation(faulty=faulty, slow=outcome.run.slow, bandwidth=outcome.run.bandwidth)
        if outcome.result is None:
            return replace(part, status="failed", reason=outcome.reason, traceback=outcome.traceback), seen
        data_size = client.profile.data_size
        try:
            read = partial(self._files.measurement, phase.place(client.id), outcome.result.file, phase.size, data_size)
            result = await self._run(read, soon=phase.is_soon_checked(client, outcome.result))
        except UpdateRejected as error:
            await self._breakers.fail(client.id, phase.failure(str(error)), under=phase.lease)
            return replace(part, status="rejected", reason=str(error)), replace(seen, faulty=True)
        if result is None:
            return replace(part, status="skipped", reason=NOTHING_HELD_OUT, num_examples=0), seen
        if missing := lacking(result, phase.config.goal):  # it answers as it should, and measures something else
            return replace(part, status="rejected", reason=missing), seen
        outcome.trace("evaluate", result)
        return replace(part, status="received", reason=None, **figures(result)), seen

    async def checked(
        self, phase: Phase, part: Participation, client: Client, outcome: TaskOutcome
    ) -> tuple[Participation, Observation]:
        """Check a client's update; give the participation with what it brought, and what was seen of the client.

        A bad update counts against the client.
        """
        seen = Observation(slow=outcome.run.slow, bandwidth=outcome.run.bandwidth)
        if (came := outcome.result) is None:
            phase.over(client.id)
            return replace(part, status="failed", reason=outcome.reason, traceback=outcome.traceback), seen
        try:
            check = partial(self._files.check, phase, client, came)
            update, norm, sketch = await self._run(check, soon=phase.is_soon_checked(client, came))
        except UpdateRejected as error:
            phase.over(client.id)  # before it counts against the client, which is not to happen in two rounds
            await self._breakers.fail(client.id, phase.failure(str(error)), under=phase.lease)
            return replace(part, status="rejected", reason=str(error)), seen
        result = update.result
        outcome.trace("fit", result)
        received = replace(
            part,
            status="received",
            reason=None,
            **figures(result),
            update=update.file.sha256,
            update_norm=norm,
            num_steps=result.num_steps,
            asked_steps=result.asked_steps,
            digest=came.file.sha256,
            evidence=came.evidence,
        )
        worked = max(result.train_seconds, came.worked_seconds - phase.transfer_seconds(client))
        seen = Observation(
            slow=outcome.run.slow,
            bandwidth=outcome.run.bandwidth,
            train_seconds=whole_seconds(worked, received, phase.config),
            quality=update_quality(result.loss),
            sketch=sketch,
            encoding=update.encoding,
            coding=came.coding,
        )
        return received, seen

    async def _run(self, check: Callable[[], _Found], *, soon: bool) -> _Found:
        """Check an answer in a turn of the event loop, if that is `soon` done, or else in a thread."""
        if not soon:
            return await in_thread("checks", check)
        await self._turns.take()
        return check()


def figures(result: TaskResult) -> dict[str, Any]:
    """What a result says, as fields of a participation."""
    return {name: getattr(result, name) for name in ("num_examples", "loss", "accuracy", "metrics")}
