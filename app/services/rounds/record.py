"""A client's track record: what rounds teach of it, and the permits that its breaker gives for them."""

from collections.abc import Mapping
from dataclasses import replace

from app.clock import Clock
from app.domain.breaker import Failure
from app.domain.clients import Client
from app.domain.evaluations import NOTHING_HELD_OUT
from app.domain.fairness import jain_index
from app.domain.rounds import Participation, Round
from app.services.breakers import Breakers
from app.services.tasks import TaskRun
from app.store.transaction import Transaction


class TrackRecord:
    """Writes to clients' rows within the ledger's transactions."""

    def __init__(self, clock: Clock, breakers: Breakers) -> None:
        self._clock = clock
        self._breakers = breakers

    async def learn(
        self, tx: Transaction, training_id: str, settled: Mapping[str, tuple[Participation, TaskRun]]
    ) -> None:
        """Fold participations, by client, into what is known: sketches, moving averages, breakers.

        Of a removed client there are only sketches.
        """
        for client_id, (_, run) in settled.items():
            if run.sketch is not None:
                await tx.sketches.fold(training_id, client_id, run.sketch)
        known = await tx.clients.lock(settled.keys())
        learned = [self._learned(client, *settled[client.id]) for client in known]
        await tx.clients.put(*learned)
        for before, after in zip(known, learned, strict=True):
            await self._breakers.note(tx, before.breaker, after.breaker, after.id)

    async def evaluated(self, tx: Transaction, value: Round) -> None:
        """Append how each evaluation of a round ended to the events, and remember who has no held-out examples."""
        now = self._clock.now()
        for one in value.evaluations:
            await tx.events.append(
                f"evaluation.{one.status}", now, training_id=value.training_id, round_number=value.number,
                client_id=one.client_id, reason=one.reason, num_examples=one.num_examples, loss=one.loss,
                accuracy=one.accuracy, seconds=one.seconds,
            )  # fmt: skip
        without_data = [one.client_id for one in value.evaluations if one.reason == NOTHING_HELD_OUT]
        known = await tx.clients.lock(without_data)
        await tx.clients.put(*(client.without_held_out_data(now) for client in known))

    async def take_permit(self, tx: Transaction, client: Client, until: float, *, forced: bool) -> None:
        """Count a locked client's task as its breaker's probe, where it has one to give; `until` in unix seconds."""
        await self._breakers.take_permit(tx, client, until - self._clock.now(), force=forced)

    async def miss(self, tx: Transaction, client_id: str, *, late: bool) -> None:
        """After a task that was called off: the breaker's permit is free again, and a late client was not reliable."""
        for client in await tx.clients.lock([client_id]):
            seen = client.observed(reliability=0.0 if late else None)
            await tx.clients.put(replace(seen, breaker=client.breaker.release()))

    async def take_back(self, tx: Transaction, value: Round, client_id: str, reason: str) -> None:
        """Undo what a client was credited with for an update that turned out to be of no use, and count a failure."""
        failure = Failure(phase="fit", training_id=value.training_id, round=value.number, reason=reason)
        for client in await tx.clients.lock([client_id]):
            failed = self._breakers.failed(client.withdrawn().observed(reliability=0.0), failure)
            await tx.clients.put(failed)
            await self._breakers.note(tx, client.breaker, failed.breaker, client_id)

    async def fairness(self, tx: Transaction, value: Round) -> float:
        """Jain's index over the registered clients of how often each one's update was used, this round included."""
        counts = dict.fromkeys(await tx.clients.ids(), 0)
        for past in await tx.rounds.selections(value.training_id, value.number + 1):
            for client_id in past.received & counts.keys():
                counts[client_id] += 1
        return jain_index(list(counts.values()))

    def _learned(self, client: Client, part: Participation, run: TaskRun) -> Client:
        came = part.status == "received"
        seen = replace(
            client.observed(
                reliability=1.0 if came else None if run.excused else 0.0,
                train_seconds=run.train_seconds if came else None,
                bandwidth=run.bandwidth,
                last_update_quality=run.quality if came else None,
            ),
            rounds_completed=client.rounds_completed + came,
            last_seen_at=part.finished_at if came else client.last_seen_at,
            status="healthy" if came else client.status,
        )
        return self._breakers.succeeded(seen, slow=run.slow) if came else seen
