"""The composition root: the only place where the services are made and handed to each other.

One list shows what each of them is given. `app.main` adds HTTP. Long because every service has its place in this list.
"""

import random
import secrets
import socket
from functools import partial

from prometheus_client import CollectorRegistry

from app.clock import Clock
from app.memory import LONG_ANSWERS_BYTES, UPLOADS_BYTES, AnswerMemory, AnswerPlaces, BodyMemory
from app.metrics import Metrics
from app.services import readiness
from app.services.access.api_keys import ApiKeys
from app.services.access.audit import AuditTrail
from app.services.access.audit_retention import AuditRetention
from app.services.access.callers import Callers
from app.services.access.enrolments import Enrolments
from app.services.access.invitation_retention import InvitationRetention
from app.services.access.invitations import Invitations
from app.services.access.keys import AdminKey
from app.services.access.limits import CallerLimits
from app.services.access.oidc import OidcTokens
from app.services.access.secrets import ServerSecret
from app.services.access.sessions import Sessions
from app.services.access.tokens import AgentTokens, TokenRenewal
from app.services.events.feed import EventFeed
from app.services.events.retention import EventRetention
from app.services.fleet.census import Census
from app.services.fleet.clients import Clients
from app.services.fleet.connectivity import ConnectivityMatrix, LatestConnectivity
from app.services.fleet.health import HealthProber
from app.services.fleet.inquiries import Inquiry
from app.services.fleet.outcomes import Outcomes
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
from app.services.rounds.selections import Selections
from app.services.rounds.waiting import Availability, ClientWait
from app.services.rounds.waits import RoundWaits
from app.services.rounds.weighing import Weighing
from app.services.running.coordinator import Coordinator
from app.services.running.housekeeping import Housekeeper
from app.services.running.interruptions import Interruptions
from app.services.running.key_watch import KeyWatch
from app.services.running.starting import claim_directories
from app.services.running.stores import databases, model_files
from app.services.running.survey import Survey
from app.services.running.timekeeping import Timekeeper
from app.services.system import System
from app.services.tasks.address_guard import AddressGuard
from app.services.tasks.agents import AgentCaller
from app.services.tasks.appends import Appends
from app.services.tasks.breakers import Breakers
from app.services.tasks.channels import Channels
from app.services.tasks.connections import AgentTransport
from app.services.tasks.deliveries import Deliveries
from app.services.tasks.dispatch import Dispatcher
from app.services.tasks.grants import Grants
from app.services.tasks.mailbox import Mailbox
from app.services.tasks.mailbox_retention import MailboxRetention
from app.services.tasks.pulls import LONGEST_WAIT_SHARE, Pulls
from app.services.tasks.responses import Transport
from app.services.tasks.resuming import Resuming
from app.services.tasks.signer import Signer
from app.services.tasks.watching import TaskWatch
from app.services.trainings.idempotency import KeyRetention
from app.services.trainings.models import Models
from app.services.trainings.retention import ModelRetention
from app.services.trainings.trainings import Trainings
from app.services.webhooks.deliveries import WebhookDeliveries
from app.services.webhooks.sender import SECONDS, Sender
from app.services.webhooks.webhooks import Webhooks
from app.settings import AgentSettings, Settings
from app.store import migrations
from tcsfeel.selection import installed


def build(settings: Settings, clock: Clock, agents: Transport | None) -> System:
    """Wire the services of one process. A third party's strategy that cannot be loaded stops it here."""
    installed()
    claim_directories(settings)
    admin_key = AdminKey.load(settings)
    secret = ServerSecret.load(settings, admin_key)
    tokens = AgentTokens(secret)
    rng = random.Random()  # noqa: S311  (jitter, not secrets)
    metrics = Metrics(CollectorRegistry(), max_clients=settings.metrics.max_clients)
    db, coordinator_db = databases(settings, metrics)
    issued = OidcTokens.of(settings.oidc, clock)
    callers = Callers(db, clock, admin_key, secret, questions_db=coordinator_db, issued=issued)
    keys = ApiKeys(db, clock, secret, callers)
    models, copies = model_files(settings)
    files = RoundFiles(models, settings.data_dir / "spool")
    retention = ModelRetention(
        db=coordinator_db,
        files=models,
        copies=copies,
        clock=clock,
        metrics=metrics,
        delay=settings.models.removal_delay_seconds,
    )
    guard = AddressGuard.of(settings)
    transport, signer = agents or AgentTransport(settings.agents, guard), Signer(secret.derived("signing"), clock)
    caller = AgentCaller(
        settings.agents,
        max_bytes=settings.models.max_bytes,
        tokens=tokens,
        transport=transport,
        signer=signer,
        clock=clock,
        resuming=Resuming(lambda body: metrics.transfers_resumed.labels("push", body).inc()),
    )
    watch = TaskWatch(coordinator_db, clock, places=settings.limits.waiting_agents)
    metrics.waiting_agents.set_function(lambda: watch.waiting)
    silent = settings.health.interval_seconds
    mailbox = Mailbox(coordinator_db, models, clock, watch, max_bytes=settings.models.max_bytes, interval=silent)
    channels = Channels(caller, mailbox, metrics)
    breakers = Breakers(coordinator_db, clock, metrics, rng, api_db=db)
    matrix = LatestConnectivity()
    by_key = settings.register_by_key
    registered = Clients(db, clock, metrics, settings.health, tokens, keys=keys, register_by_key=by_key)
    roster = LatestRoster()
    planner = Planner(roster, matrix, clock, metrics)
    past = PastRounds()
    record = TrackRecord(clock, breakers, past, roster)
    waits = RoundWaits(db, clock, places=settings.limits.waits)
    ending = RoundEnding(clock, record, metrics, waits.notice)
    progress = ProgressRecord(clock, metrics)
    owned = OwnedTransactions(coordinator_db)
    model_ledger = ModelLedger(coordinator_db, owned, clock)
    ledger = RoundLedger(
        db=coordinator_db,
        owned=owned,
        models=model_ledger,
        clock=clock,
        record=record,
        ending=ending,
        progress=progress,
        metrics=metrics,
    )
    absences = Absences(coordinator_db, channels, clock)
    dispatcher = Dispatcher(
        caller=channels, breakers=breakers, settings=settings.agents, clock=clock, metrics=metrics, rng=rng
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
        db=coordinator_db,
        clock=clock,
        planner=planner,
        past=past,
        files=files,
        ledger=ledger,
        initial_models=InitialModels(
            clock=clock, participants=participants, files=files, models=model_ledger, absences=absences
        ),
        client_wait=ClientWait(owned, ledger, progress, Availability(coordinator_db, planner, clock), clock),
    )
    costs = Costs(coordinator_db)
    early_ends = EarlyEnds(
        db=coordinator_db, participants=participants, files=files, ledger=ledger, costs=costs, past=past
    )
    phases = Phases(db=coordinator_db, owned=owned, files=files, costs=costs)
    engine = RoundEngine(
        db=coordinator_db,
        clock=clock,
        participants=participants,
        relaying=Relaying(
            clock=clock,
            participants=participants,
            dispatcher=dispatcher,
            breakers=breakers,
            ledger=ledger,
            grants=Grants(tokens, signer),
            metrics=metrics,
        ),
        files=files,
        ledger=ledger,
        phases=phases,
        selecting=selecting,
        evaluating=Evaluating(
            db=coordinator_db,
            clock=clock,
            planner=planner,
            participants=participants,
            ledger=ledger,
            phases=phases,
        ),
        absences=absences,
        costs=costs,
        weighing=Weighing(coordinator_db, owned, roster),
    )
    deliveries = Deliveries(db, models, clock, watch, uploads=files.upload)
    interruptions = Interruptions(owned, progress, metrics, early_ends.give_up)
    name = f"{socket.gethostname()[:40]}-{secrets.token_hex(4)}"
    audit = AuditTrail(db, coordinator_db, clock, name=name, directory=settings.data_dir)
    audit.note_waiting = metrics.audit_waiting.set
    return System(
        name=name,
        settings=settings,
        admin_key=admin_key,
        secret=secret,
        sessions=Sessions(secret, clock),
        callers=callers,
        keys=keys,
        invitations=Invitations(db, clock, secret),
        enrolments=Enrolments(db, clock, secret, keys),
        key_watch=KeyWatch(callers),
        limits=CallerLimits(coordinator_db, settings.limits, server=name),
        audit=audit,
        metrics=metrics,
        body_memory=BodyMemory(settings.max_body_bytes),
        upload_memory=BodyMemory(UPLOADS_BYTES),
        answer_memory=AnswerMemory(LONG_ANSWERS_BYTES),
        answer_places=AnswerPlaces(),
        db=db,
        coordinator_db=coordinator_db,
        migrated=Inquiry(partial(migrations.is_current, db), seconds=readiness.TIMEOUT_SECONDS),
        clients=registered,
        census=Census(registered, metrics),
        survey=Survey(
            db,
            clock,
            metrics,
            spools=files.spooled_files,
            signs=registered.signs,
            places={"data": settings.data_dir, "models": settings.model_directory, "spool": files.spool_directory},
        ),
        breakers=breakers,
        outcomes=Outcomes(db, clock, metrics, breakers, rng),
        connectivity=ConnectivityMatrix(db, matrix, clock),
        selections=Selections(db, planner),
        trainings=Trainings(db, clock, ending, early_ends.call_off, waits.notice, most=settings.limits.trainings),
        waits=waits,
        models=Models(db, files, clock, max_bytes=settings.models.max_bytes, bytes_of_key=settings.limits.model_bytes),
        caller=caller,
        address_guard=guard,
        webhooks=Webhooks(db, clock, secret, most=settings.limits.webhooks),
        webhook_deliveries=WebhookDeliveries(
            owner=name,
            db=coordinator_db,
            feed=EventFeed(coordinator_db, places=settings.limits.webhooks),
            sender=Sender(_to_receivers(settings, guard), secret, clock),
            clock=clock,
            metrics=metrics,
            rng=rng,
        ),
        participants=participants,
        task_watch=watch,
        pulls=Pulls(
            db,
            models,
            clock,
            watch,
            signer=signer,
            metrics=metrics,
            longest_wait=LONGEST_WAIT_SHARE * silent,
            rng=rng,
        ),
        deliveries=deliveries,
        appends=Appends(
            db,
            models,
            clock,
            deliveries,
            metrics,
            uploads=files.upload,
            most_bytes=settings.limits.unfinished_bytes,
            most_of_client=settings.limits.client_unfinished_bytes,
        ),
        coordinator=Coordinator(
            owner=name,
            db=coordinator_db,
            owned=owned,
            engine=engine,
            early_ends=early_ends,
            interruptions=interruptions,
            settings=settings.coordinator,
            clock=clock,
            metrics=metrics,
        ),
        interruptions=interruptions,
        prober=HealthProber(coordinator_db, channels, settings.health, clock),
        timekeeper=Timekeeper(coordinator_db, clock),
        housekeeper=Housekeeper(
            coordinator_db,
            files,
            EventRetention(coordinator_db, settings.events),
            KeyRetention(coordinator_db, clock, hours=settings.limits.idempotency_key_hours),
            TokenRenewal(coordinator_db, tokens),
            AuditRetention(coordinator_db, settings.audit),
            InvitationRetention(coordinator_db, clock, days=settings.limits.invitation_days),
            MailboxRetention(coordinator_db, clock),
            retention,
        ),
        feed=EventFeed(db, places=settings.limits.streams, note=metrics.event_readers.set),
    )


def _to_receivers(settings: Settings, guard: AddressGuard) -> AgentTransport:
    """Make the transport to the receivers of webhooks, which shows them none of the certificates for agents."""
    patience = AgentSettings(connect_seconds=SECONDS / 2, read_seconds=SECONDS, poll_seconds=1.0)
    return AgentTransport(patience, guard.of_receivers(settings.webhooks.allowed_networks))
