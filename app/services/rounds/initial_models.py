"""Ask a client for the first parameters of a training that has none."""

from collections.abc import Sequence

from app.clock import Clock
from app.domain.clients import Client
from app.domain.rounds import Round
from app.domain.trainings import TrainingConfig
from app.services.rounds.absences import Absences
from app.services.rounds.files import RoundFiles
from app.services.rounds.fleets import Fleet
from app.services.rounds.model_ledger import ModelLedger
from app.services.rounds.participants import Participants
from app.services.tasks.answers import AgentFailed
from app.store.leases import Lease
from tcsfeel.errors import Picklable
from tcsfeel.selection.types import Selection
from tcsfeel.text import plain

SHOWN = 250  # characters of the reason of one client
LONGEST = 900  # characters of all reasons together
ASKED_FOR_A_MODEL = 3  # clients, one after the other, within the deadline


class ClientsAway(Picklable):
    """None of the asked clients can be reached, so it may help to wait. `out` has each client with the reason."""

    def __init__(self, reason: str, away: Sequence[Client]) -> None:
        super().__init__(reason)
        self.out = tuple((client.id, "it cannot be reached") for client in away)


class InitialModels:
    """Fetches initial parameters from clients."""

    def __init__(
        self, *, clock: Clock, participants: Participants, files: RoundFiles, models: ModelLedger, absences: Absences
    ) -> None:
        self._clock = clock
        self._participants = participants
        self._files = files
        self._models = models
        self._absences = absences

    async def fetch(
        self, lease: Lease, config: TrainingConfig, round_: Round, fleet: Fleet, selection: Selection
    ) -> str:
        """Ask the first selected client for parameters, or the next one if that fails. Returns the model's SHA-256.

        Raises:
            AgentFailed: none of the asked clients gave a model.
            ClientsAway: none of them can be reached.
            NothingToTrain, NoRoomForControl: a client's model cannot be trained with the training's `config`.
        """
        clients = {client.id: client for client in fleet.offered}
        asked = [clients[client_id] for client_id in selection.client_ids[:ASKED_FOR_A_MODEL]]
        spool = self._files.spool(round_)
        patience = max(0.0, round_.deadline_at - self._clock.now()) / ASKED_FOR_A_MODEL
        reasons: list[str] = []
        for client in asked:
            force = client.id in fleet.forced
            try:
                stored, since = await self._participants.initial_model(
                    lease, client, round_, spool, patience, config=config, force=force
                )
            except AgentFailed as error:
                reasons.append(plain(str(error), SHOWN))
            else:
                return await self._models.begin(lease, stored, since=since)
        told = "; ".join(reasons) or "no client was selected"
        problem = AgentFailed(f"no initial model: {told}", limit=LONGEST)
        away = await self._absences.find(asked)
        if len(away) == len(asked) > 0:
            raise ClientsAway(str(problem), away) from problem
        raise problem
