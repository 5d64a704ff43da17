"""The composition root: the only place where the services are made and handed to each other.

One list shows what each of them is given; `rounds` has what drives a round. `app.main` adds HTTP.
"""

import random
import secrets
import socket

from prometheus_client import CollectorRegistry

from app.clock import Clock
from app.composition.rounds import round_services
from app.composition.tracing import traces_of
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
from app.services.rounds.carried_retention import CarriedRetention
from app.services.rounds.files import RoundFiles
from app.services.rounds.selections import Selections
from app.services.rounds.waits import RoundWaits
from app.services.running.coordinator import Coordinator
from app.services.running.housekeeping import Housekeeper
from app.services.running.key_watch import KeyWatch
from app.services.running.starting import claim_directories
from app.services.running.stores import bucket_uploads, databases, model_files, presigned_urls
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
from app.services.tasks.grants import Grants
from app.services.tasks.mailbox import Mailbox
from app.services.tasks.mailbox_retention import MailboxRetention
from app.services.tasks.pulls import LONGEST_WAIT_SHARE, Pulls
from app.services.tasks.responses import Transport
from app.services.tasks.resuming import Resuming
from app.services.tasks.signer import Signer
from app.services.tasks.sources import Sources
from app.services.tasks.traced import TracedChannels, TracedTransport
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
from app.traces import Traces
from tcsfeel.selection import installed


def build(settings: Settings, clock: Clock, agents: Transport | None, *, traces: Traces | None = None) -> System:
    """Wire the services of one process. A third party's strategy that cannot be loaded stops it here.

    `agents` and `traces` replace what the settings lead to, in tests. Raises `WrongSetting`.
    """
    installed()
    name = f"{socket.gethostname()[:40]}-{secrets.token_hex(4)}"
    traces = traces_of(settings.traces, name) if traces is None else traces
    claim_directories(settings)
    admin_key = AdminKey.load(settings)
    secret = ServerSecret.load(settings, admin_key)
    tokens = AgentTokens(secret)
    rng = random.Random()  # noqa: S311  (jitter, not secrets)
    metrics = Metrics(CollectorRegistry(), max_clients=settings.metrics.max_clients)
    metrics.exemplar_of = traces.exemplar
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
    if traces.exports:
        transport = TracedTransport(traces, transport)
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
    mailbox = Mailbox(
        coordinator_db, models, clock, watch, max_bytes=settings.models.max_bytes, interval=silent, traces=traces
    )
    channels = (
        TracedChannels(traces, caller, mailbox, metrics) if traces.exports else Channels(caller, mailbox, metrics)
    )
    sources = Sources(presigned_urls(settings), metrics, ask=caller.says_of_urls)
    breakers = Breakers(coordinator_db, clock, metrics, rng, api_db=db)
    matrix = LatestConnectivity()
    connectivity = ConnectivityMatrix(db, matrix, clock)
    by_key = settings.register_by_key
    registered = Clients(db, clock, metrics, settings.health, tokens, keys=keys, register_by_key=by_key)
    roster = LatestRoster()
    waits = RoundWaits(db, clock, places=settings.limits.waits)
    rounds = round_services(
        settings.agents,
        clock,
        coordinator_db,
        metrics=metrics,
        rng=rng,
        files=files,
        channels=channels,
        breakers=breakers,
        roster=roster,
        matrix=matrix,
        grants=Grants(tokens, signer),
        sources=sources,
        ended=waits.notice,
        traces=traces,
    )
    deliveries = Deliveries(db, models, clock, watch, uploads=files.upload, bucket=bucket_uploads(settings))
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
        traces=traces,
        body_memory=BodyMemory(settings.max_body_bytes),
        upload_memory=BodyMemory(UPLOADS_BYTES),
        answer_memory=AnswerMemory(LONG_ANSWERS_BYTES),
        answer_places=AnswerPlaces(),
        db=db,
        coordinator_db=coordinator_db,
        schema=Inquiry(migrations.SchemaCheck(db).obstacle, seconds=readiness.TIMEOUT_SECONDS),
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
        connectivity=connectivity,
        selections=Selections(db, rounds.planner),
        trainings=Trainings(db, clock, rounds.ending, rounds.early_ends, waits.notice, most=settings.limits.trainings),
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
        participants=rounds.participants,
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
            sources=sources,
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
            owned=rounds.owned,
            engine=rounds.engine,
            early_ends=rounds.early_ends,
            interruptions=rounds.interruptions,
            settings=settings.coordinator,
            clock=clock,
            metrics=metrics,
        ),
        interruptions=rounds.interruptions,
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
            CarriedRetention(coordinator_db, rounds.ending, rounds.early_ends, clock),
            connectivity,
            retention,
        ),
        feed=EventFeed(db, places=settings.limits.streams, note=metrics.event_readers.set),
    )


def _to_receivers(settings: Settings, guard: AddressGuard) -> AgentTransport:
    """Make the transport to the receivers of webhooks, which shows them none of the certificates for agents."""
    patience = AgentSettings(connect_seconds=SECONDS / 2, read_seconds=SECONDS, poll_seconds=1.0)
    return AgentTransport(patience, guard.of_receivers(settings.webhooks.allowed_networks))
