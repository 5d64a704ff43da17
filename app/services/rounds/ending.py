"""How a round ends, for every cause: its owner measured or abandoned it, or a user cancelled its training.

The caller's transaction holds the training's row: an owner's through its lease, a user's by a lock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import structlog

from app.clock import Clock
from app.domain.carrying import TRAINING_ENDED, carried, may_be_carried, task_of
from app.domain.events.rounds import doubt_of, end_of, end_of_part
from app.domain.events.trainings import change_of
from app.domain.lateness import excuse, skipped
from app.domain.outcomes import Outcome, ending
from app.domain.rounds import Participation, Round, RoundEvent, convergence_speed, next_status
from app.domain.tasks import TaskRun
from app.domain.trainings import Training, ended
from app.metrics import Metrics
from app.services.rounds.carrying import Carrying
from app.services.rounds.known import Completed
from app.services.rounds.record import TrackRecord
from app.store.transaction import Transaction
from tcsfeel.aggregation.goals import Goal
from tcsfeel.text import listed

CANCELLED = "the training was cancelled"
FAULTS = frozenset({"failed", "rejected"})
SKIPPED_TOGETHER = 200  # stragglers a transaction: some 50 ms

log = structlog.get_logger(__name__)


class RoundEnding:
    """Ends rounds in the transactions of others."""

    def __init__(self, clock: Clock, record: TrackRecord, metrics: Metrics, announce: Callable[[str], None]) -> None:
        """`announce` tells those who wait for a round of a training, by its id, that one has ended."""
        self._clock = clock
        self._record = record
        self._metrics = metrics
        self._announce = announce
        self.carrying = Carrying(record, metrics)

    async def skip_outstanding(
        self,
        tx: Transaction,
        round_: Round,
        reason: str,
        runs: Mapping[str, TaskRun] = MappingProxyType({}),
        *,
        at_fault: bool = True,
        carry: bool = False,
    ) -> Round | None:
        """Settle participations of both kinds that have not come to their end, and give the breakers' permits back.

        One transaction settles `SKIPPED_TOGETHER` of them at most, so that none holds others up for long. Gives None
        where more are left: the caller is to commit, and to go on in another transaction. Each is settled once, so
        that a successor may go on as well. In the end it gives the round with its participations as they are stored.

        A client that has not answered counts as late. There are three exceptions: the goal was met without it, the
        clients are not `at_fault`, or the server is why there is no update. Only the last one replaces the `reason`.
        Nothing counts against a client whose evaluation is missing.

        With `carry`, a client that is still at work keeps its task if its training carries stragglers.
        """
        outstanding = await tx.rounds.outstanding(round_.training_id, round_.number, limit=SKIPPED_TOGETHER + 1)
        if stragglers := outstanding[:SKIPPED_TOGETHER]:
            now, kind = self._clock.now(), stragglers[0].kind  # a round waits for one kind at a time
            ours = {part.client_id: runs.get(part.client_id, TaskRun()) for part in stragglers}
            relays = round_.plan.parents if round_.plan is not None and kind == "fit" else {}
            excuses = {
                client_id: excuse(run, now, relays.get(client_id)) if at_fault else None
                for client_id, run in ours.items()
            }
            kept = await self._kept(tx, round_, stragglers, ours) if carry else frozenset()
            parts = [
                carried(part, round_, ours[part.client_id], now)
                if part.client_id in kept
                else skipped(part, ours[part.client_id], excuses[part.client_id] or reason, now)
                for part in stragglers
            ]
            written = await tx.rounds.settle(round_.training_id, round_.number, parts, kind)
            if kind == "fit":
                received = await tx.rounds.count_received(round_.training_id, round_.number)
                late = at_fault and received < (round_.goal or 1)
                blame = {name: late and name not in kept and excuses[name] is None for name in written}
                await self._record.miss(tx, blame)
            for part in written.values():
                await tx.events.append(end_of_part(round_, part))
                self._metrics.count_part(kind, part.status)
        if len(outstanding) > SKIPPED_TOGETHER:
            return None
        stored = await tx.rounds.get(round_.training_id, round_.number)
        return replace(round_, participations=stored.participations, evaluations=stored.evaluations)

    async def _kept(
        self, tx: Transaction, round_: Round, stragglers: Sequence[Participation], runs: Mapping[str, TaskRun]
    ) -> frozenset[str]:
        """Return the clients that keep their tasks. One that has not asked for its task yet has none to keep.

        Its task is cancelled here: if this process died first, its agent would take a task that nobody waits for.
        """
        policy = (await tx.trainings.get(round_.training_id)).config.in_round(round_.number).round_policy
        kept = {
            task_of(part, round_.training_id, round_.number): part.client_id
            for part in stragglers
            if may_be_carried(policy, round_, part, runs[part.client_id])
        }
        untaken = await tx.mailbox.offered(kept) if kept else set()
        if untaken:
            await tx.removals.request(await tx.mailbox.cancel(untaken), at_once=True)
        return frozenset(client_id for task, client_id in kept.items() if task not in untaken)

    async def close(
        self, tx: Transaction, round_: Round, event: RoundEvent, goal: Goal, before: Completed | None = None
    ) -> tuple[Round, Completed]:
        """End the round with its result, measured by the `goal` of its training.

        `before` are the completed rounds before it, which are read if they are not known. Returns them with this one.
        `count` is to follow, once the transaction is committed.
        """
        now = self._clock.now()
        if before is None:
            before = await _completed(tx, round_)
        round_ = replace(
            round_,
            status=next_status(round_.status, event),
            ended_at=now,
            communication_bytes=round_.communication_bytes
            + sum(part.bytes_sent + part.bytes_received for part in round_.parts),
            convergence_speed=convergence_speed(
                goal,
                round_.goal_value,
                now,
                before.goal_value,
                before.ended_at,
            ),
            fairness=await self._record.fairness(tx, round_),
        )
        await tx.rounds.put(round_)
        if (doubt := round_.target_doubt) is not None:
            await tx.events.append(doubt_of(round_, doubt))
        await tx.events.append(end_of(round_))
        after = Completed(before.count + 1, round_.goal_value, now) if round_.status == "completed" else before
        return round_, after

    async def cancel(self, tx: Transaction, round_: Round, goal: Goal) -> Round | None:
        """End the open round of a training that was cancelled; a model that it has committed stays.

        Gives None where more transactions are needed, as `skip_outstanding` does.
        """
        whole = await self.skip_outstanding(tx, round_, CANCELLED, at_fault=False)
        if whole is None:
            return None
        event: RoundEvent = "measured" if round_.status == "evaluating" else "abandoned"
        return (await self.close(tx, replace(whole, failure_reason=CANCELLED), event, goal))[0]

    async def at_its_limit(self, tx: Transaction, training: Training) -> tuple[Training, dict[str, str]]:
        """Give a running training without an open round as it is: it has ended if it has no round left.

        With it come its carried tasks that have ended, by client.
        """
        last = await tx.rounds.newest(training.id)
        completed = await tx.rounds.count_completed(training.id)
        reason = last.failure_reason if last is not None and last.status == "abandoned" else None
        end = ending(training, Outcome(completed=completed, reason=reason), failed_in_row=0)
        if end is None:
            return training, {}
        after = ended(training, end, self._clock.now())
        await note_changes(tx, training, after)
        return after, await self.carrying.end_all(tx, training.id, TRAINING_ENDED)

    def count(self, round_: Round, goal: Goal) -> None:
        """Show a round that has ended in the metrics and in the log, and tell those who wait for it."""
        self._record.ended(round_)
        self._announce(round_.training_id)
        self._metrics.rounds.labels(round_.status).inc()
        self._metrics.round_duration.labels(round_.status).observe(
            max(0.0, (round_.ended_at or 0.0) - round_.started_at),
            self._metrics.exemplar_of(round_.training_id, round_.number),
        )
        if round_.goal_value is not None or round_.average_accuracy is not None:
            self._metrics.show_measurements(
                round_.training_id, accuracy=round_.average_accuracy, metric=goal.metric, value=round_.goal_value
            )
        if (doubt := round_.target_doubt) is not None:
            log.warning(
                "the target is not accepted: it depends on one client's measurement", metric=goal.metric,
                value=round_.goal_value, client=doubt.client_id, without=doubt.mean,
            )  # fmt: skip
        failed = [(part.client_id, part.reason or "") for part in round_.participations if part.status in FAULTS]
        log.info(
            "round", status=round_.status, metric=goal.metric, value=round_.goal_value, reason=round_.failure_reason,
            clients=len(round_.participations), failed=listed(failed) or None,
            received=sum(part.status == "received" for part in round_.participations),
        )  # fmt: skip


async def _completed(tx: Transaction, round_: Round) -> Completed:
    """Read the completed rounds before a round."""
    last = await tx.rounds.previous(round_.training_id, round_.number)
    if last is None:
        return Completed()
    return Completed(await tx.rounds.count_completed(round_.training_id), last.goal_value, last.ended_at)


async def note_changes(tx: Transaction, before: Training, after: Training) -> None:
    """Append the event of a training that has stopped, or whose progress has changed its state."""
    event = change_of(before, after)
    if event is not None:
        await tx.events.append(event)
