"""Create, start and stop trainings for users. The coordinator drives them.

Every change of a training's status away from ``running`` also revokes its lease in the same transaction, so that its
owner cannot write for it any more.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Literal

from app.clock import Clock
from app.domain.changes import changed, extended
from app.domain.errors import LimitReached
from app.domain.events.trainings import (
    TrainingAsked,
    TrainingCreated,
    TrainingExtended,
    TrainingResumed,
    TrainingRoundRequested,
    TrainingStarted,
    changes_of,
)
from app.domain.outcomes import achieved
from app.domain.rounds import Round
from app.domain.trainings import STOPPED, Training, TrainingConfig, cancelled, paused, resumed
from app.origins import current_origin
from app.services.rounds.early_ends import EarlyEnds
from app.services.rounds.ending import CANCELLED, RoundEnding, note_changes
from app.services.rounds.opening import begin_round, open_round, prolong
from app.services.trainings.forking import Start, forked
from app.services.trainings.idempotency import IdempotentRequest
from app.store.database import Database
from app.store.reading import LISTED, Part
from app.store.transaction import Transaction
from tcsfeel.errors import UnknownStrategy
from tcsfeel.selection import strategies

_ASKED: Mapping[Literal["start", "resume"], type[TrainingAsked]] = {"start": TrainingStarted, "resume": TrainingResumed}


class Trainings:
    """Use cases around trainings and their rounds."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        ending: RoundEnding,
        early_ends: EarlyEnds,
        paused: Callable[[str], None],
        *,
        most: int,
    ) -> None:
        """`early_ends` tells agents that their tasks are no longer wanted.

        `paused` tells those who wait for a round that its training, by id, goes on no more. One caller may have created
        at most `most` trainings that have not ended.
        """
        self._db = db
        self._clock = clock
        self._ending = ending
        self._early_ends = early_ends
        self._paused = paused
        self._most = most

    async def create(self, config: TrainingConfig, request: IdempotentRequest | None = None) -> Training:
        """Raises `UnknownStrategy`, `LimitReached`, and `KeyReused` for the key of another request."""
        _check_strategy(config)
        now, creator = self._clock.now(), current_origin().actor
        training = Training(id=secrets.token_hex(8), config=config, created_at=now, updated_at=now, created_by=creator)
        async with self._db.begin() as tx:
            if request is not None and (known := await request.claim(tx, training.id, now)) is not None:
                return await tx.trainings.get(known)
            await self._check_number(tx, creator)
            await tx.trainings.add(training)
            await tx.events.append(TrainingCreated(training_id=training.id, name=config.name))
        return training

    async def fork(
        self,
        start: Start,
        configured: Callable[[Training], TrainingConfig],
        request: IdempotentRequest | None = None,
    ) -> Training:
        """Create a training that starts from a model version of another one, from which `configured` makes its own.

        Raises:
            Invalid: there is no such training or version, or the configuration cannot go on from it.
            Removed: the version, or what is needed beside it, is no longer kept.
            UnknownStrategy, LimitReached, KeyReused: as for `create`.
        """
        now = self._clock.now()
        async with self._db.begin() as tx:
            training_id = secrets.token_hex(8)
            if request is not None and (known := await request.claim(tx, training_id, now)) is not None:
                return await tx.trainings.get(known)
            await self._check_number(tx, current_origin().actor)
            training = await forked(tx, start, configured, training_id, now)
            _check_strategy(training.config)
            await tx.events.append(
                TrainingCreated(
                    training_id=training.id,
                    name=training.config.name,
                    origin=start.training_id,
                    origin_round=training.current_round,
                )
            )
        return training

    async def get(self, training_id: str) -> Training:
        """Raises `NotFound`."""
        async with self._db.glance() as tx:
            return await tx.trainings.get(training_id)

    async def page(self, *, limit: int, after: tuple[float, str] | None) -> Part[Training]:
        """Newest first; fewer than `limit` where more would be too long for an answer."""
        async with self._db.read() as tx:
            return await tx.trainings.page(limit=limit, after=after, most_bytes=LISTED)

    async def change(self, training_id: str, configured: Callable[[Training], TrainingConfig]) -> Training:
        """Give a created, paused or failed training the configuration that `configured` makes of it.

        Raises `NotFound`, `StateForbids`, `Invalid`, and what `configured` raises; then nothing has changed.
        """
        async with self._db.begin() as tx:
            before = await tx.trainings.get(training_id, for_update=True)
            training = changed(before, configured(before), self._clock.now())
            for event in changes_of(training_id, before.config, training.config):
                await tx.events.append(event)
            await tx.trainings.configure(training)
        return training

    async def start(self, training_id: str, event: Literal["start", "resume"] = "start") -> Training:
        """Let it run on its own. Raises `NotFound`, `StateForbids`."""
        now, carried = self._clock.now(), dict[str, str]()
        async with self._db.begin() as tx:
            before = await tx.trainings.get(training_id, for_update=True)
            round_ = await open_round(tx, training_id)
            await self._give_time_back(tx, before, round_)
            training = resumed(before, event, now)
            await self._check_again(tx, before)
            await tx.events.append(_ASKED[event](training_id=training_id, was=before.status))
            if round_ is None:
                training, carried = await self._ending.at_its_limit(tx, training)
            await tx.trainings.put(training)
        await self._early_ends.call_off_carried(carried)
        return training

    async def extend(
        self,
        training_id: str,
        configured: Callable[[Training], TrainingConfig],
        request: IdempotentRequest | None = None,
    ) -> Training:
        """Let a training that has ended run again, with the configuration that `configured` makes of it.

        Raises `NotFound`, `StateForbids`, `Invalid`, `KeyReused`, and what `configured` raises; then nothing has
        changed.
        """
        now = self._clock.now()
        async with self._db.begin() as tx:
            before = await tx.trainings.get(training_id, for_update=True)
            if request is not None and await request.claim(tx, training_id, now) is not None:
                return before
            training = extended(before, configured(before), now)
            await self._check_again(tx, before)
            rounds = training.config.max_rounds - before.current_round
            await tx.events.append(TrainingExtended(training_id=training_id, was=before.status, rounds=rounds))
            for event in changes_of(training_id, before.config, training.config):
                await tx.events.append(event)
            await tx.trainings.configure(training)
            await tx.trainings.put(training)
        return training

    async def pause(self, training_id: str) -> Training:
        """Stop where it stands; agents keep what they have. Raises `NotFound`, `StateForbids`."""
        async with self._db.begin() as tx:
            before = await tx.trainings.get(training_id, for_update=True)
            training = await self._pause(tx, before)
        self._paused(training_id)
        return training

    async def _pause(self, tx: Transaction, before: Training) -> Training:
        """Pause a training whose row the transaction holds. Raises `StateForbids`."""
        training = paused(before, self._clock.now())
        await note_changes(tx, before, training)
        await tx.trainings.put(training)
        await tx.leases.revoke(training.id)
        return training

    async def cancel(self, training_id: str) -> Training:
        """End it; its open round is ended with it, and its model stays. Raises `NotFound`, `StateForbids`.

        A round with many stragglers takes several transactions, between which the training is paused. So nothing drives
        it meanwhile, and where this server dies in between, it can be cancelled again, or resumed.
        """
        done = None
        while done is None:
            async with self._db.begin() as tx:
                done = await self._cancel(tx, training_id)
        training, round_, driven, carried = done
        await self._early_ends.call_off_carried(carried)
        if round_ is not None:
            self._ending.count(round_, training.config.goal)
            # An owner cancels its own tasks, once it has stopped polling and sending them.
            if not driven:
                await self._early_ends.call_off(round_)
        return training

    async def _cancel(
        self, tx: Transaction, training_id: str
    ) -> tuple[Training, Round | None, bool, dict[str, str]] | None:
        """Cancel a training, with its open round; give both, whether an owner drove them, and its `carried` tasks.

        Where the round needs more transactions, the training is only paused, and this gives None.
        """
        now = self._clock.now()
        before = await tx.trainings.get(training_id, for_update=True)
        reached = achieved(before, completed=await tx.rounds.count_completed(training_id))
        training = cancelled(before, reached, now)
        round_ = await open_round(tx, training_id)
        ended = None if round_ is None else await self._ending.cancel(tx, round_, before.config.goal)
        if round_ is not None and ended is None:
            if before.status == "running":
                await self._pause(tx, before)
            return None
        await note_changes(tx, before, training)
        await tx.trainings.put(training)
        driven = await tx.leases.revoke(training_id)
        return training, ended, driven, await self._ending.carrying.end_all(tx, training_id, CANCELLED)

    async def run_round(self, training_id: str, request: IdempotentRequest | None = None) -> int:
        """Have exactly one round run, the open one if there is one; gives its number.

        Raises:
            NotFound, StateForbids: the training is running or has ended.
            KeyReused: the idempotency key belongs to another request.
        """
        now = self._clock.now()
        async with self._db.begin() as tx:
            training = await tx.trainings.get(training_id, for_update=True)
            round_ = await open_round(tx, training_id)
            number = training.current_round + 1 if round_ is None else round_.number
            if request is not None and (known := await request.claim(tx, str(number), now)) is not None:
                return int(known)
            before = training
            training = resumed(before, "run one round of", now, stop_after=number)
            await self._check_again(tx, before)
            await tx.events.append(TrainingRoundRequested(training_id=training_id, was=before.status, round=number))
            await self._give_time_back(tx, before, round_)
            if round_ is None:
                training, _ = await begin_round(tx, training, now)
            await tx.trainings.put(training)
        return number

    async def round(self, training_id: str, number: int) -> Round:
        """Raises `NotFound`."""
        async with self._db.read() as tx:
            return await tx.rounds.get(training_id, number)

    async def rounds(self, training_id: str, *, limit: int, before: int | None) -> Part[Round]:
        """Newest first; fewer than `limit` where more would be too long for an answer. Raises `NotFound`."""
        async with self._db.read() as tx:
            await tx.trainings.get(training_id)
            return await tx.rounds.page(training_id, limit=limit, before=before, most_bytes=LISTED)

    async def _check_number(self, tx: Transaction, creator: str) -> None:
        """Refuse a further training of a creator that has as many as it may have. Raises `LimitReached`."""
        if await tx.trainings.count_open(creator) >= self._most:
            raise LimitReached(
                "trainings",
                f"this key may have created at most {self._most} trainings that have not ended: cancel one of them",
                retry_after=60,
            )

    async def _check_again(self, tx: Transaction, before: Training) -> None:
        """Refuse to let a training run again that has ended, if its creator has too many others."""
        if before.status in STOPPED and before.created_by is not None:
            await self._check_number(tx, before.created_by)

    async def _give_time_back(self, tx: Transaction, training: Training, round_: Round | None) -> None:
        """An open round gets the time that it stood still while its training was paused."""
        if round_ is not None and training.paused_at is not None:
            await prolong(tx, round_, self._clock.now() - training.paused_at)


def _check_strategy(config: TrainingConfig) -> None:
    if config.selection.strategy not in strategies():
        raise UnknownStrategy(config.selection.strategy, sorted(strategies()))
