"""Make the services of rounds: the engine that drives them, and what it is given."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from app.clock import Clock
from app.metrics import Metrics
from app.services.fleet.connectivity import LatestConnectivity
from app.services.fleet.roster import LatestRoster
from app.services.rounds.absences import Absences
from app.services.rounds.costs import Costs
from app.services.rounds.early_ends import EarlyEnds
from app.services.rounds.ending import RoundEnding
from app.services.rounds.engine import RoundEngine
from app.services.rounds.evaluating import Evaluating
from app.services.rounds.files import RoundFiles
from app.services.rounds.initial_models import InitialModels
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.model_ledger import ModelLedger
from app.services.rounds.open_tasks import OpenTasks
from app.services.rounds.owned import OwnedTransactions
from app.services.rounds.participants import Participants
from app.services.rounds.past import PastRounds
from app.services.rounds.phases import Phases
from app.services.rounds.planning import Planner
from app.services.rounds.progress import ProgressRecord
from app.services.rounds.record import TrackRecord
from app.services.rounds.relaying import Relaying
from app.services.rounds.results import Results
from app.services.rounds.selecting import Selecting
from app.services.rounds.waiting import Availability, ClientWait
from app.services.rounds.weighing import Weighing
from app.services.running.interruptions import Interruptions
from app.services.tasks.breakers import Breakers
from app.services.tasks.channels import Channels
from app.services.tasks.dispatch import Dispatcher
from app.services.tasks.grants import Grants
from app.services.tasks.sources import Sources
from app.services.tasks.traced import TracedDispatcher
from app.settings import AgentSettings
from app.store.database import Database
from app.traces import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundServices:
    """The services of rounds that the rest of the process uses."""

    planner: Planner
    ending: RoundEnding
    owned: OwnedTransactions
    participants: Participants
    early_ends: EarlyEnds
    engine: RoundEngine
    interruptions: Interruptions


def round_services(
    settings: AgentSettings,
    clock: Clock,
    db: Database,
    *,
    metrics: Metrics,
    rng: random.Random,
    files: RoundFiles,
    channels: Channels,
    breakers: Breakers,
    roster: LatestRoster,
    matrix: LatestConnectivity,
    grants: Grants,
    sources: Sources,
    ended: Callable[[str], None],
    traces: Traces,
) -> RoundServices:
    """Make them. `db` has the coordinator's connections. `ended` gets the training's id when a round has ended."""
    planner = Planner(roster, matrix, clock, metrics)
    past = PastRounds()
    record = TrackRecord(clock, breakers, past, roster)
    ending = RoundEnding(clock, record, metrics, ended)
    progress = ProgressRecord(clock, metrics)
    owned = OwnedTransactions(db)
    model_ledger = ModelLedger(db, owned, clock)
    ledger = RoundLedger(
        db=db,
        owned=owned,
        models=model_ledger,
        clock=clock,
        record=record,
        ending=ending,
        progress=progress,
        metrics=metrics,
    )
    absences = Absences(db, channels, clock)
    dispatch = partial(TracedDispatcher, traces) if traces.exports else Dispatcher
    dispatcher = dispatch(
        caller=channels,
        breakers=breakers,
        settings=settings,
        clock=clock,
        metrics=metrics,
        rng=rng,
        sources=sources,
    )
    participants = Participants(
        clock=clock,
        caller=channels,
        dispatcher=dispatcher,
        breakers=breakers,
        files=files,
        ledger=ledger,
        models=model_ledger,
        results=Results(files, breakers),
    )
    selecting = Selecting(
        db=db,
        clock=clock,
        planner=planner,
        past=past,
        files=files,
        ledger=ledger,
        initial_models=InitialModels(
            clock=clock, participants=participants, files=files, models=model_ledger, absences=absences
        ),
        client_wait=ClientWait(owned, ledger, progress, Availability(db, planner, clock), clock),
        open_tasks=OpenTasks(owned, ending.carrying, participants),
    )
    costs = Costs(db)
    early_ends = EarlyEnds(db=db, participants=participants, files=files, ledger=ledger, costs=costs, past=past)
    phases = Phases(db=db, owned=owned, files=files, costs=costs)
    engine = RoundEngine(
        db=db,
        clock=clock,
        participants=participants,
        relaying=Relaying(
            clock=clock,
            participants=participants,
            dispatcher=dispatcher,
            breakers=breakers,
            ledger=ledger,
            grants=grants,
            metrics=metrics,
        ),
        files=files,
        ledger=ledger,
        phases=phases,
        selecting=selecting,
        evaluating=Evaluating(
            db=db,
            clock=clock,
            planner=planner,
            participants=participants,
            ledger=ledger,
            phases=phases,
        ),
        early_ends=early_ends,
        absences=absences,
        costs=costs,
        weighing=Weighing(db, owned, roster),
        traces=traces,
    )
    return RoundServices(
        planner=planner,
        ending=ending,
        owned=owned,
        participants=participants,
        early_ends=early_ends,
        engine=engine,
        interruptions=Interruptions(owned, progress, metrics, early_ends.give_up),
    )
