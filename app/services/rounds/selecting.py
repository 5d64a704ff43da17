"""Select clients for a round that has begun, or end the round if there can be no plan."""

import contextlib
from dataclasses import replace

from app.clock import Clock
from app.domain.carrying import free_places
from app.domain.errors import NotFound
from app.domain.local_work import planned_epochs
from app.domain.parameter_groups import ParameterGroups
from app.domain.patience import after_waiting
from app.domain.relays import sound
from app.domain.rounds import ENDED, Round, of_round
from app.domain.selections import history, newest_examples, newest_losses, selection_policy
from app.domain.trainings import Training, TrainingConfig
from app.services.rounds.files import RoundFiles
from app.services.rounds.fleets import Fleet
from app.services.rounds.initial_models import ClientsAway, InitialModels
from app.services.rounds.known import Known
from app.services.rounds.ledger import PlanOvertaken, RoundLedger
from app.services.rounds.open_tasks import OpenTasks
from app.services.rounds.past import PastRounds
from app.services.rounds.planning import FEW, NO_SELECTION, Planner
from app.services.rounds.waiting import ClientWait
from app.services.tasks.answers import AgentFailed
from app.store.database import Database
from app.store.leases import Lease
from app.threads import in_thread
from tcsfeel.errors import Invalid, NotEnoughClients
from tcsfeel.selection.candidates import Candidates
from tcsfeel.selection.types import Selection, Skipped, nobody


class Selecting:
    """Plans rounds for the owner of the lease."""

    def __init__(
        self,
        *,
        db: Database,
        clock: Clock,
        planner: Planner,
        past: PastRounds,
        files: RoundFiles,
        ledger: RoundLedger,
        initial_models: InitialModels,
        client_wait: ClientWait,
        open_tasks: OpenTasks,
    ) -> None:
        self._db = db
        self._clock = clock
        self._planner = planner
        self._past = past
        self._files = files
        self._ledger = ledger
        self._initial_models = initial_models
        self._client_wait = client_wait
        self._open_tasks = open_tasks

    async def select(self, lease: Lease, training: Training, round_: Round) -> Round:
        """Plan a round as soon as clients can be selected. Returns it planned or abandoned. Raises `Fenced`."""
        tries = 0
        while True:
            try:
                return await self._planned(lease, training, after_waiting(round_, self._clock.now()))
            except (NotEnoughClients, ClientsAway) as error:
                round_ = await self._client_wait.wait(lease, training, round_, error, tries=tries)
            if round_.status in ENDED:
                return round_
            tries += 1
            async with self._db.read() as tx:
                training = await tx.trainings.get(training.id)
            training = replace(training, config=of_round(training.config, round_))

    async def _planned(self, lease: Lease, training: Training, round_: Round) -> Round:
        """Plan the round, or abandon it if waiting cannot help. Raises `NotEnoughClients`, `ClientsAway`."""
        try:
            model = training.model
            if model is None:
                model = await self._initial_models.fetch(
                    lease, training.config, round_, *await self.plan(training, round_, None, lease=lease)
                )
            size = await self._bytes_to_send(lease, training, model)
            while True:
                fleet, selection = await self.plan(training, round_, size, lease=lease)
                epochs = await _epochs(training.config, size, fleet, selection)
                with contextlib.suppress(PlanOvertaken):
                    return await self._ledger.planned(lease, round_, model, selection, fleet, epochs)
        except NotEnoughClients:
            raise
        except (*NO_SELECTION, AgentFailed, NotFound) as error:
            return await self._ledger.abandoned(lease, round_, str(error))
        except Invalid as error:  # a parameter that the strategy no longer has, or a model that cannot be trained
            field = error.pointer.removeprefix("/").replace("/", ".")
            return await self._ledger.abandoned(lease, round_, f"{field} {error}".lstrip())

    async def _bytes_to_send(self, lease: Lease, training: Training, model: str) -> int:
        """Tell how large a model is as it is sent. Raises `NotFound`, `NothingToTrain`."""
        version = self._ledger.known(lease).version
        if version is not None and version.sha256 == model and training.config.parameters == ParameterGroups():
            return version.size
        return await in_thread("files", self._files.bytes_to_send, training.config, model)

    async def plan(
        self, training: Training, round_: Round, model_bytes: int | None, *, lease: Lease | None = None
    ) -> tuple[Fleet, Selection]:
        """Read the fleet, and select from it for a round. Raises the errors of `Planner.select`.

        What the owner with the `lease` knows is not read, and carried tasks that cannot go on are ended for it.
        """
        async with self._db.read() as tx:
            known = Known() if lease is None else self._ledger.known(lease)
            carried, leaving = await self._open_tasks.divided(tx, training, lease)
            fleet = await self._planner.fleet(
                tx, where=training.config.where, training_id=training.id, sketches=known.sketches, carried=carried
            )
            known.sketches = dict(fleet.sketches) if known.sketches is None else known.sketches
            past = (await self._past.before(tx, training.id, round_.number)).rounds
        if lease is not None:
            await self._open_tasks.end(lease, carried, leaving)
        policy, places = selection_policy(training.config, model_bytes), len(carried)
        try:
            selection = await self._planner.select(
                fleet,
                training.config.selection.strategy,
                history(past, fleet.clients, fleet.joined),
                free_places(policy, places),
                round_.seed,
                losses=newest_losses(past),
                examples=newest_examples(past),
                training_id=training.id,
                number=round_.number,
                patience=max(0.0, round_.deadline_at - self._clock.now()),
            )
        except NotEnoughClients as error:
            if places < max(1, policy.min_clients):
                raise error.besides(places) from error
            out = [Skipped(client_id, reason) for client_id, reason in error.out]
            return fleet, nobody(training.config.selection.strategy, out)  # the carried tasks are a round of their own
        if selection.plan.topology == "star":
            return fleet, selection
        known_clients = {client.id: client for client in fleet.clients}
        return fleet, replace(selection, plan=sound(selection.plan, known_clients, training.config))


async def _epochs(config: TrainingConfig, model_bytes: int, fleet: Fleet, selection: Selection) -> dict[str, int]:
    """Return the `planned_epochs` of a training's selection; none if all clients do all of their work."""
    if config.round_policy.local_work == "full" or not selection.selected:
        return {}
    policy = selection_policy(config, model_bytes)

    def plan() -> dict[str, int]:
        elastic = frozenset(client.id for client in fleet.offered if client.profile.elastic)
        seen = Candidates.of(fleet.candidates({}, {}))
        return planned_epochs(selection.plan, seen, fleet.connectivity, policy, elastic)

    return plan() if len(fleet.offered) <= FEW else await in_thread("administration", plan)
