"""Creating trainings, and what a user may ask of them. Driving them is the coordinator's part.

Whatever takes a training out of ``running`` also revokes its lease in the same transaction, so that its owner cannot
write for it any more, wherever its work stands.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from app.clock import Clock
from app.domain.errors import UnknownStrategy
from app.domain.rounds import ENDED, OUTSTANDING, Round, RoundEvent, next_status
from app.domain.selection import strategies
from app.domain.trainings import Training, TrainingConfig, TrainingEvent
from app.domain.trainings import next_status as next_training_status
from app.services.idempotency import IdempotentRequest
from app.services.rounds.opening import begin_round, open_round, prolong
from app.store.database import Database
from app.store.transaction import Transaction

POLL_SECONDS = 0.05


class Trainings:
    """Use cases around trainings and their rounds."""

    def __init__(self, db: Database, clock: Clock, call_off: Callable[[Round], Awaitable[None]]) -> None:
        """`call_off` tells the agents of a round that its tasks are no longer wanted."""
        self._db = db
        self._clock = clock
        self._call_off = call_off

    async def create(self, config: TrainingConfig, request: IdempotentRequest | None = None) -> Training:
        """Raises `UnknownStrategy`, and `KeyReused` for the key of another request."""
        if config.selection.strategy not in strategies():
            raise UnknownStrategy(config.selection.strategy, sorted(strategies()))
        now = self._clock.now()
        training = Training(id=secrets.token_hex(8), config=config, created_at=now, updated_at=now)
        async with self._db.begin() as tx:
            if request is not None and (known := await request.claim(tx, training.id, now)) is not None:
                return await tx.trainings.get(known)
            await tx.trainings.add(training)
            await tx.events.append("training.created", now, training_id=training.id, name=config.name)
        return training

    async def get(self, training_id: str) -> Training:
        """Raises `NotFound`."""
        async with self._db.glance() as tx:
            return await tx.trainings.get(training_id)

    async def page(self, *, limit: int, after: tuple[float, str] | None) -> list[Training]:
        """Newest first."""
        async with self._db.read() as tx:
            return await tx.trainings.page(limit=limit, after=after)

    async def start(self, training_id: str, event: Literal["start", "resume"] = "start") -> Training:
        """Let it run on its own. Raises `NotFound`, `StateForbids`."""
        async with self._db.begin() as tx:
            training = await self._moved(tx, await tx.trainings.get(training_id, for_update=True), event)
            value = await open_round(tx, training_id)
            await self._give_time_back(tx, training, value)
            training = replace(training, stop_after=None, failed_in_row=0, next_round_at=0.0, paused_at=None)
            if value is None and training.current_round >= training.config.max_rounds:
                training = replace(await self._moved(tx, training, "complete"), stop_reason="max_rounds")
            await tx.trainings.put(training)
        return training

    async def pause(self, training_id: str) -> Training:
        """Stop where it stands; agents keep what they have. Raises `NotFound`, `StateForbids`."""
        async with self._db.begin() as tx:
            training = await self._moved(tx, await tx.trainings.get(training_id, for_update=True), "pause")
            training = replace(training, paused_at=self._clock.now())
            await tx.trainings.put(training)
            await tx.leases.revoke(training_id)
        return training

    async def cancel(self, training_id: str) -> Training:
        """End it; its open round is ended with it, and its model stays. Raises `NotFound`, `StateForbids`."""
        async with self._db.begin() as tx:
            training = await self._moved(tx, await tx.trainings.get(training_id, for_update=True), "cancel")
            training = replace(training, stop_reason="cancelled", stop_after=None, paused_at=None)
            await tx.trainings.put(training)
            await tx.leases.revoke(training_id)
            value = await open_round(tx, training_id)
            if value is not None:
                await self._end_cancelled(tx, value)
        if value is not None:
            await self._call_off(value)
        return training

    async def run_round(self, training_id: str, request: IdempotentRequest | None = None) -> int:
        """Have exactly one round run, the open one if there is one; gives its number.

        Raises:
            NotFound, StateForbids: the training is running or has ended.
            KeyReused: the idempotency key belongs to another request.
        """
        now = self._clock.now()
        async with self._db.begin() as tx:
            training = await tx.trainings.get(training_id, for_update=True)
            value = await open_round(tx, training_id)
            number = training.current_round + 1 if value is None else value.number
            if request is not None and (known := await request.claim(tx, str(number), now)) is not None:
                return int(known)
            training = await self._moved(tx, training, "run one round of")
            await self._give_time_back(tx, training, value)
            if value is None:
                training, _ = await begin_round(tx, training, now)
            await tx.trainings.put(replace(training, stop_after=number, next_round_at=0.0, paused_at=None))
        return number

    async def round(self, training_id: str, number: int) -> Round:
        """Raises `NotFound`."""
        async with self._db.read() as tx:
            return await tx.rounds.get(training_id, number)

    async def rounds(self, training_id: str, *, limit: int, before: int | None) -> list[Round]:
        """Newest first. Raises `NotFound`."""
        async with self._db.read() as tx:
            await tx.trainings.get(training_id)
            return await tx.rounds.page(training_id, limit=limit, before=before)

    async def finished_round(self, training_id: str, number: int, seconds: float) -> Round:
        """The round once it has ended and its training has moved on, or as it is after `seconds`."""
        until = self._clock.now() + seconds
        while True:
            async with self._db.read() as tx:
                value = await tx.rounds.get(training_id, number)
                training = await tx.trainings.get(training_id)
            if (value.status in ENDED and training.stop_after != number) or self._clock.now() >= until:
                return value
            await self._clock.sleep(POLL_SECONDS)

    async def _moved(self, tx: Transaction, training: Training, event: TrainingEvent) -> Training:
        now = self._clock.now()
        status = next_training_status(training.status, event)
        await tx.events.append(f"training.{status}", now, training_id=training.id, was=training.status)
        return replace(training, status=status, updated_at=now)

    async def _give_time_back(self, tx: Transaction, training: Training, value: Round | None) -> None:
        """An open round gets the time that it stood still while its training was paused."""
        if value is not None and training.paused_at is not None:
            await prolong(tx, value, self._clock.now() - training.paused_at)

    async def _end_cancelled(self, tx: Transaction, value: Round) -> None:
        now = self._clock.now()
        for part in value.participations:
            if part.status in OUTSTANDING:
                skipped = replace(part, status="skipped", reason="the training was cancelled", finished_at=now)
                await tx.rounds.settle(value.training_id, value.number, [skipped])
                await tx.events.append(
                    "participation.skipped",
                    now,
                    training_id=value.training_id,
                    round_number=value.number,
                    client_id=part.client_id,
                    reason=skipped.reason,
                )
        event: RoundEvent = "measured" if value.status == "evaluating" else "abandoned"  # a committed model stays
        ended = replace(
            value,
            status=next_status(value.status, event),
            ended_at=now,
            failure_reason="the training was cancelled",
            communication_bytes=sum(part.bytes_sent + part.bytes_received for part in value.participations),
        )
        await tx.rounds.put(ended)
        await tx.events.append(f"round.{ended.status}", now, training_id=value.training_id, round_number=value.number)
