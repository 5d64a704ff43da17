"""Begin the phases of a round: read what its tasks have in common, and the clients that get them."""

from collections.abc import Collection
from dataclasses import replace

from app.domain.clients import Client
from app.domain.retries import RetryBudget
from app.domain.rounds import Round
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
from tcsfeel.wire.sizes import EVALUATION, AnswerSize, fit_size
from tcsfeel.wire.tasks import TaskKind


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
        first = ""
        if training.config.parameters.frozen:
            async with self._db.read() as tx:
                first = (await tx.models.first(training.id)).sha256
        sent, size = await in_thread("files", self._to_send, round_, training.config, kind, model or "", first)
        phase = Phase(
            lease=lease,
            round_=round_,
            kind=kind,
            config=training.config,
            model=sent.model,
            frozen=sent.frozen,
            size=size,
            spool=self._files.spool(round_),
            budget=RetryBudget.of(tasks),
            deadline=deadline,
        )
        if kind == "fit" and training.config.aggregation == "scaffold":
            phase = await self._controlled(phase)
        self._costs.begin(phase)
        return phase

    async def clients(self, lease: Lease, client_ids: Collection[str]) -> dict[str, Client]:
        """Return clients of the round. Only those are read that its owner does not know."""
        known = self._owned.known(lease)
        if unknown := [client_id for client_id in client_ids if client_id not in known.clients]:
            async with self._db.read() as tx:
                known.keep(await tx.clients.some(unknown))
        return {client_id: known.clients[client_id] for client_id in client_ids if client_id in known.clients}

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
