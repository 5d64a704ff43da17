"""Begin the phases of a round: read what its tasks have in common, and the clients that get them."""

from collections.abc import Collection
from dataclasses import replace

import structlog

from app.domain.carrying import seconds_more
from app.domain.clients import Client
from app.domain.errors import NotFound
from app.domain.retries import RetryBudget
from app.domain.rounds import Participation, Round, of_round
from app.domain.trainings import Training, TrainingConfig
from app.services.rounds.costs import Costs
from app.services.rounds.files import RoundFiles
from app.services.rounds.optimiser_states import with_control
from app.services.rounds.owned import OwnedTransactions
from app.services.rounds.phase import Phase
from app.services.tasks.assignments import ToSend
from app.store.database import Database
from app.store.leases import Lease
from app.threads import in_thread
from tcsfeel.errors import UnusableRound
from tcsfeel.wire.sizes import EVALUATION, AnswerSize, fit_size
from tcsfeel.wire.tasks import TaskKind

log = structlog.get_logger(__name__)


class Phases:
    """Begins phases for the owner of the lease. `owned` tells what the owner knows."""

    def __init__(self, *, db: Database, owned: OwnedTransactions, files: RoundFiles, costs: Costs) -> None:
        self._db = db
        self._owned = owned
        self._files = files
        self._costs = costs

    async def begin(
        self,
        lease: Lease,
        training: Training,
        round_: Round,
        kind: TaskKind,
        model: str | None,
        *,
        tasks: int,
        deadline: float,
    ) -> Phase:
        """Begin a phase with this many `tasks`, which carry a `model`. Raises `UnusableRound`."""
        first = await self._first(training)
        sent, size = await in_thread("files", self._to_send, round_, training.config, kind, model or "", first)
        phase = Phase(
            lease=lease,
            round_=round_,
            kind=kind,
            config=training.config,
            model=sent.model,
            frozen=sent.frozen,
            file=sent.file,
            size=size,
            spool=self._files.spool(round_),
            budget=RetryBudget.of(tasks),
            deadline=deadline,
            more_seconds=seconds_more(training.config.round_policy, 0) if kind == "fit" else 0.0,
        )
        if kind == "fit" and training.config.aggregation == "scaffold":
            phase = await self._controlled(phase)
        self._costs.begin(phase)
        return phase

    async def of_carried(
        self, training: Training, phase: Phase, parts: Collection[Participation]
    ) -> dict[int | None, Phase]:
        """Begin the phases of tasks that were carried into the round of a `phase`, by the round in which they began.

        They have its time, its retries and its spool, and what their tasks have in common is that of the older round.
        A round whose model is gone or cannot be sent any more has no phase.
        """
        found: dict[int | None, Phase] = {}
        if not parts:
            return found
        policy, first = training.config.round_policy, await self._first(training)
        bases = dict(sorted({(part.begun_in or 0, part.base_model or "") for part in parts}))
        async with self._db.read() as tx:
            begun = {number: await tx.rounds.head(training.id, number) for number in bases}
        for number, base in bases.items():
            config = of_round(training.config, begun[number])
            try:
                sent, size = await in_thread("files", self._to_send, phase.round_, config, "fit", base, first)
            except (NotFound, UnusableRound):
                log.exception("the model of carried tasks cannot be sent", begun_in=number, model=base)
                continue
            found[number] = replace(
                phase,
                config=config,
                model=sent.model,
                frozen=sent.frozen,
                file=sent.file,
                size=size,
                begun_in=number,
                present=phase.model,
                more_seconds=seconds_more(policy, phase.round_.number - number),
            )
        return found

    async def clients(self, lease: Lease, client_ids: Collection[str]) -> dict[str, Client]:
        """Return clients of the round. Only those are read that its owner does not know."""
        known = self._owned.known(lease)
        if unknown := [client_id for client_id in client_ids if client_id not in known.clients]:
            async with self._db.read() as tx:
                known.keep(await tx.clients.some(unknown))
        return {client_id: known.clients[client_id] for client_id in client_ids if client_id in known.clients}

    async def _first(self, training: Training) -> str:
        """Return the SHA-256 of the first model of a training with frozen tensors."""
        if not training.config.parameters.frozen:
            return ""
        async with self._db.read() as tx:
            return (await tx.models.first(training.id)).sha256

    def _to_send(
        self, round_: Round, config: TrainingConfig, kind: TaskKind, model: str, first: str
    ) -> tuple[ToSend, AnswerSize]:
        """Return what tasks carry of a model, and how large an answer may be. It blocks."""
        sent = self._files.to_send(round_, config, model, first)
        return sent, fit_size(sent.model) if kind == "fit" else EVALUATION

    async def _controlled(self, phase: Phase) -> Phase:
        """Give the phase with the control variates of SCAFFOLD. Raises `UnusableRound`."""
        round_ = phase.round_
        async with self._db.read() as tx:
            base = await tx.models.find(round_.training_id, round_.base_model or "")
        plain = ToSend(phase.model, phase.frozen)
        sent, since = await in_thread("files", with_control, self._files.models, phase.config, base, plain, phase.spool)
        async with self._db.read() as tx:
            counted = await tx.control_rounds.counted(
                round_.training_id, round_.selected_clients, after=since, before=round_.number
            )
        return replace(phase, controlled=sent.model, frozen=sent.frozen, counted=counted)
