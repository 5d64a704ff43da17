"""What the pictures of the dashboard show: the same each time, with names and reasons that are long among the rest."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import insert

from app.domain.breaker import Breaker
from app.domain.clients import Client, ClientStatus, Measured, Profile
from app.domain.failures import Failure, Failures
from app.domain.progress import Progress
from app.domain.rounds import Participation, ParticipationStatus, Round
from app.domain.summaries import Summary
from app.domain.trainings import SelectionConfig, Training, TrainingConfig
from app.store import migrations
from app.store.database import Database
from app.store.models import ModelVersion
from app.store.selections import packed
from app.store.tables import events
from app.store.transaction import Transaction
from tcsfeel.aggregation.goals import Goal
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection.types import Chosen, Plan, Selection, Skipped
from tests.harnesses.browser.frozen import NOW

RUNNING, RELAYED, FAILED, LONG, CREATED = (digit * 16 for digit in "12345")
ROUNDS, CHOSEN = 24, 9
LONGEST = "a-device-with-an-id-that-is-as-long-as-ids-of-clients-may-be.001"
TROUBLED = "edge-0003"
REASON = (
    "its trainer failed: FileNotFoundError: the data set of this device cannot be read, since the directory "
    "/var/lib/hospital/imaging/2026/studies/thorax/preprocessed/shards/0000-of-0128.safetensors does not exist any "
    "more; it was there until the last update of the software of the device (trainer.py:118 in fit, loading.py:41)"
)


async def seed(url: str, clients: int) -> None:
    """Fill a new database with so many clients, with trainings and their rounds. Without clients, it stays empty."""
    await migrations.upgrade(url)
    if clients == 0:
        return
    db = Database(url)
    rng = np.random.default_rng(1)
    try:
        fleet = [_client(number, rng) for number in range(clients - 1)] + [_long_client()]
        async with db.begin() as tx:
            await tx.clients.add(fleet)
            await tx.connectivity.add(_links([one.id for one in fleet], rng), NOW - 86_400)
            await _trainings(tx, [one.id for one in fleet], rng)
            await tx.connection.execute(insert(events), [*_breaker_changes()])
    finally:
        await db.dispose()


def _client(number: int, rng: np.random.Generator) -> Client:
    name, age = f"edge-{number:04}", float(rng.uniform(5, 50)) * 60
    status: ClientStatus = "down" if number % 12 == 7 else "healthy"
    made = Client(
        id=name,
        profile=Profile(
            data_size=int(rng.integers(50, 5000)),
            compute_capacity=float(rng.uniform(1, 100)),
            bandwidth=float(rng.uniform(1, 100)),
            latency=float(rng.uniform(1, 200)),
            reliability=0.9,
            tags={"site": f"site-{number % 5 + 1}"},
        ),
        status=status,
        measured=Measured(reliability=float(rng.uniform(0.5, 1)), train_seconds=2.5, bandwidth=9.0, latency=120.0),
        rounds_selected=number % 25,
        rounds_completed=number % 25 * 4 // 5,
        created_at=NOW - 9.5 * 86_400,
        updated_at=NOW - 5400,
        last_seen_at=NOW - age - (90_000 if status == "down" else 0),
    )
    return _troubled(made) if name == TROUBLED else made


def _troubled(client: Client) -> Client:
    """Return the client with a breaker that is open, after failures with a long reason."""
    failed = Failure(phase="fit", reason=REASON, training_id=RUNNING, round=ROUNDS, at=NOW - 330)
    away = Failure(phase="evaluate", reason="no answer within 30 s", training_id=RUNNING, round=3, at=NOW - 7000)
    unreachable = replace(away, kind="unreachable")
    breaker = Breaker(
        state="open",
        consecutive_failures=3,
        openings=2,
        opened_at=NOW - 330,
        retry_at=NOW + 250,
        last_failure_at=NOW - 330,
        last_failures=(unreachable, failed),
        cause="3 failures in a row",
    )
    failures = Failures(unreachable=1, faulty=3, last_faulty=failed, last_unreachable=unreachable)
    return replace(client, breaker=breaker, failures=failures, status="healthy")


def _long_client() -> Client:
    """Return a client all of whose texts are as long as they may be."""
    tags = {"department": "radiology-and-nuclear-medicine", "device": "scanner-of-the-second-floor", "site": "site-1"}
    profile = Profile(data_size=10**12, compute_capacity=1.0, bandwidth=0.05, latency=2500.0, tags=tags)
    failed = Failure(phase="fit", reason="x" * 300, training_id=RUNNING, round=ROUNDS, at=NOW - 450)
    return Client(
        id=LONGEST,
        profile=profile,
        failures=Failures(faulty=123_456, last_faulty=failed),
        created_at=NOW - 86_400 * 400,
        updated_at=NOW - 5400,
        last_seen_at=NOW - 1000,
    )


def _links(ids: list[str], rng: np.random.Generator) -> Connectivity:
    """Return links between clients of the same site, and some others."""
    ids = ids[:400]
    costs = rng.uniform(0.5, 3, (len(ids), len(ids)))
    near = np.equal.outer(np.arange(len(ids)) % 5, np.arange(len(ids)) % 5)
    costs = np.where(near, costs / 10, np.where(costs < 0.8, costs, np.inf))
    costs = np.triu(costs, 1) + np.triu(costs, 1).T
    return Connectivity.from_matrix(ids, costs)


async def _trainings(tx: Transaction, ids: list[str], rng: np.random.Generator) -> None:
    """Add trainings in each state, with rounds of two of them."""
    selection = SelectionConfig(min_clients=5, max_clients=CHOSEN, budget_constraint=4.0)
    config = TrainingConfig(name="digits", goal=Goal(target=0.97), selection=selection)
    over_relays = replace(config, name="digits over relays", topology="relay", selection=SelectionConfig())
    long = "a training whose name says what it is for, which data it uses, who has asked for it, and in which study"
    ended = {"stop_reason": "too_many_failed_rounds", "stop_detail": f"7 of 9 updates failed: {LONGEST}: {REASON}"}
    given: list[tuple[str, TrainingConfig, Mapping[str, Any]]] = [
        (CREATED, replace(config, name="digits, slower"), {"status": "created"}),
        (LONG, replace(config, name=long), {"status": "paused", "current_round": 3}),
        (FAILED, replace(config, name="x" * 120), {"status": "failed", "current_round": 5, **ended}),
        (RELAYED, over_relays, {"status": "completed", "stop_reason": "target_accuracy"}),
        (RUNNING, config, {"status": "running", "progress": Progress("moving", NOW - 400)}),
    ]
    for age, (training_id, of, fields) in enumerate(given):
        at = NOW - 5400 - 3600 * (len(given) - age)
        made = Training(id=training_id, config=of, created_at=at, updated_at=NOW - 330, **fields)
        if training_id in {RUNNING, RELAYED}:
            best = _accuracy(ROUNDS)
            made = replace(
                made, current_round=ROUNDS, accuracy=best, best_accuracy=best, goal_value=best, best_value=best,
                best_round=ROUNDS,
            )  # fmt: skip
        await tx.trainings.add(made)
        if training_id in {RUNNING, RELAYED}:
            for number in range(1, ROUNDS + 1):
                await _round(tx, made, number, ids, rng)


def _accuracy(number: int) -> float:
    return 0.95 - 0.6 * math.exp(-number / 5)


async def _round(tx: Transaction, training: Training, number: int, ids: list[str], rng: np.random.Generator) -> None:
    always = {TROUBLED, LONGEST} if number in {3, ROUNDS} else {ids[0], ids[1]}  # whose reasons are long
    chosen = sorted({*always, *(str(one) for one in rng.choice(ids[4:24], CHOSEN, replace=False))})
    began = NOW - 330 - 60 * (ROUNDS - number + 1)
    parents = {one: None if training.id == RUNNING or at < 3 else chosen[at % 3] for at, one in enumerate(chosen)}
    plan = Plan("star" if training.id == RUNNING else "relay", parents)
    mean = _accuracy(number)
    made = Round(
        training_id=training.id,
        number=number,
        status="completed",
        seed=number,
        started_at=began,
        deadline_at=began + 60,
        ended_at=began + 20 + number % 7,
        connectivity_version=1,
        plan=plan,
        goal=CHOSEN,
        goal_value=mean,
        average_accuracy=mean,
        average_loss=2 * math.exp(-number / 6),
        metrics={"accuracy": Summary(mean=mean, min=mean, p25=mean, p50=mean, p75=mean, max=mean, clients=5)},
        communication_cost=1.2 + number % 4 / 5,
        communication_bytes=1_300_000 + 10_000 * number,
        fairness=0.8,
        deadline_seconds=60.0,
        participations=tuple(_part(at, one, began) for at, one in enumerate(chosen)),
    )
    await tx.rounds.add(made)
    await tx.rounds.add_participations(made)
    terms = {"data_quality": 0.5, "debt": 0.1}
    reasons = {
        one: "its breaker is open" if at % 9 == 0 else "the budget was used up"
        for at, one in enumerate(ids)
        if one not in chosen
    }
    selection = Selection(
        strategy="tcs-feel",
        selected=tuple(Chosen(one, 0.9 - at / 20, terms, 0.12) for at, one in enumerate(chosen)),
        skipped=tuple(Skipped(one, reason) for one, reason in reasons.items()),
        total_cost=1.2,
        label_divergence=0.03,
        fairness=0.8,
        expected_seconds=21.0,
        plan=plan,
    )
    await tx.selections.add(training.id, number, packed(selection))
    version = ModelVersion(
        training_id=training.id, round=number, sha256=f"{number:064x}", parent=None, size=123_456, created_at=began + 25
    )
    await tx.models.add(version)


def _part(at: int, client_id: str, began: float) -> Participation:
    if client_id in {TROUBLED, LONGEST}:
        status: ParticipationStatus = "failed" if client_id == TROUBLED else "rejected"
        reason = REASON if client_id == TROUBLED else "x" * 300
        return Participation(
            client_id=client_id, status=status, reason=reason, attempts=3, seconds=25.0, finished_at=began + 25
        )
    accuracy = 0.8 + at / 100
    return Participation(
        client_id=client_id,
        status="received",
        attempts=1,
        num_examples=100 + at,
        loss=0.4,
        accuracy=accuracy,
        metrics={"accuracy": accuracy},
        bytes_sent=60_000,
        bytes_received=61_000 + at,
        seconds=3.0 + 2 * at,
        finished_at=began + 3.0 + 2 * at,
    )


def _breaker_changes() -> list[dict[str, Any]]:
    changes = (
        ("open", "closed", 7000),
        ("half_open", "open", 6000),
        ("closed", "half_open", 5900),
        ("open", "closed", 330),
    )
    return [
        {
            "at": NOW - ago,
            "type": f"breaker.{state}",
            "client_id": TROUBLED,
            "data": {"was": was, "reason": REASON if state == "open" else None},
            "actor": "server",
        }
        for state, was, ago in changes
    ]
