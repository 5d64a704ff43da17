"""The domain's Prometheus metrics; HTTP's come from prometheus-fastapi-instrumentator.

One `Metrics` belongs to one registry, so that two applications in one process (tests, replicas) do not share counts.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.domain.breaker import BreakerState
from app.domain.clients import ClientStatus
from app.domain.failures import FailureKind, FailurePhase
from app.domain.progress import ProgressState
from app.domain.rounds import ENDED, OUTSTANDING, ParticipationStatus
from app.metrics.state import StateMetrics

OTHER = "other"
MAX_TRAININGS = 100
HELD_UP: tuple[ProgressState, ...] = ("waiting", "stalled")
CLIENT_STATUSES: tuple[ClientStatus, ...] = get_args(ClientStatus)
SETTLED: frozenset[ParticipationStatus] = frozenset(get_args(ParticipationStatus)) - OUTSTANDING
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_TRANSACTION_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROUND_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class Metrics:
    """The metrics in one registry. If more than `max_clients` are registered, the ``client`` label is ``other``."""

    exemplar_of: Callable[[str, int], dict[str, str] | None] = staticmethod(lambda _training_id, _number: None)
    """Gives the labels that lead from a round to its trace, by its training and its number."""

    def __init__(self, registry: CollectorRegistry, *, max_clients: int) -> None:
        self.registry, self._max_clients, self._clients = registry, max_clients, 0
        self._bytes_of: dict[str, tuple[Counter, Counter]] = {}  # sent and received, by the label of the client
        self._shown: dict[str, str] = {}  # the goal's metric of each training shown, in the order of their last round
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._held_up: dict[str, tuple[str, float]] = {}  # state, and since when by the monotonic clock
        self._round_accuracy = gauge(
            "federated_round_accuracy",
            "Accuracy of the training's newest model, as measured by clients on held-out data",
            ["training"],
        )
        self._goal_value = gauge(
            "federated_goal_value",
            "Value of the goal's metric of the training's newest model, as measured by clients on held-out data",
            ["training", "metric"],
        )
        self._communication_bytes = counter(
            "federated_communication_bytes",
            "Bytes of request and response bodies that the server exchanged with agents",
            ["client", "direction"],
        )
        self.selection_duration = histogram(
            "federated_selection_duration_seconds", "Time that it took to plan one round", buckets=_SECONDS
        )
        self.rounds = counter("federated_rounds", "Number of rounds that ended", ["outcome"])
        self.round_duration = histogram(
            "federated_round_duration_seconds", "Duration of one round", ["outcome"], buckets=_ROUND_SECONDS
        )
        self.participations = counter("federated_participations", "Number of participations that ended", ["outcome"])
        self.relayed = counter(
            "federated_relayed_updates",
            "Number of clients below relays, by whether their update came through the relay",
            ["outcome"],
        )
        self.evaluations = counter("federated_evaluations", "Number of evaluations that ended", ["outcome"])
        self.client_failures = counter(
            "federated_client_failures", "Number of failures of clients, by what failed and when", ["kind", "phase"]
        )
        self._reports = counter(
            "federated_reported_outcomes",
            "Number of outcomes of calls that outside coordinators reported",
            ["outcome", "phase"],
        )
        self.updates = counter(
            "federated_updates",
            "Number of updates that were received, by their encoding and compression",
            ["encoding", "coding"],
        )
        self.identity_conflicts = counter(
            "federated_identity_conflicts", "Number of times that agents began to use the same client id"
        )
        self.delayed_refusals = counter(
            "federated_delayed_refusals", "Number of refusals that waited because their address was refused too often"
        )
        self.limited = counter(
            "federated_limited", "Number of calls that were refused because a limit was reached", ["limit"]
        )
        self.grpc_calls = counter("federated_grpc_calls", "Number of calls over gRPC that ended", ["method", "code"])
        self.event_readers = gauge("federated_event_readers", "Number of callers that wait for events at this process")
        self.webhook_deliveries = counter(
            "federated_webhook_deliveries", "Number of tries to send an event to a webhook", ["outcome"]
        )
        self.audit_waiting = gauge(
            "federated_audit_records_waiting", "Number of audit records of this process that are not written yet"
        )
        self.breaker_changes = counter(
            "federated_breaker_state_changes", "Number of times that a breaker entered a state", ["state"]
        )
        self.open_breakers = gauge("federated_open_breakers", "Number of breakers that are not closed")
        self._counted_at = time.monotonic()
        self.counts_age = gauge(
            "federated_counts_age_seconds", "Time since clients and breakers were last counted, or since the start"
        )
        self.counts_age.set_function(lambda: time.monotonic() - self._counted_at)
        self.clients = gauge("federated_clients", "Number of registered clients", ["status"])
        self.tasks_in_flight = gauge(
            "federated_tasks_in_flight", "Number of tasks that agents have received and not ended"
        )
        self.tasks_handed_over = counter(
            "federated_tasks_handed_over", "Number of tasks that were handed over, by their channel", ["channel"]
        )
        self.parameters_by_url = counter(
            "federated_parameters_by_url", "Number of tasks for agents that fetch parameters by URL", ["channel", "way"]
        )
        self.transfers_resumed = counter(
            "federated_transfers_resumed",
            "Number of times that a body broke off on its way and was kept as far as it had come",
            ["channel", "body"],
        )
        self.waiting_agents = gauge("federated_waiting_agents", "Number of agents that wait at this server for a task")
        self.tick_age = gauge("federated_coordinator_tick_age_seconds", "Time since the coordinator's last tick")
        self.lease_takeovers = counter(
            "federated_lease_takeovers", "Number of trainings that were taken over from another owner"
        )
        self.stalled_seconds = gauge(
            "federated_training_stalled_seconds", "How long a training has made no progress", ["training", "state"]
        )
        self.held_up = gauge("federated_trainings_held_up", "Number of trainings that make no progress", ["state"])
        for state in HELD_UP:
            self.held_up.labels(state).set(0)
        self.fenced_writes = counter(
            "federated_fenced_writes", "Number of writes that were refused because the lease was lost"
        )
        self.database_failures = counter(
            "federated_database_failures",
            "Number of transactions in which the database failed, by why",
            ["pool", "reason"],
        )
        self._transactions = histogram(
            "federated_database_transaction_seconds",
            "Duration of one committed transaction, from the wait for a connection to the end",
            ["pool", "kind"],
            buckets=_TRANSACTION_SECONDS,
        )
        self.database_refusals = counter(
            "federated_database_refusals", "Number of transactions that could not begin", ["pool", "reason"]
        )
        self._database_connections = gauge(
            "federated_database_connections", "Number of open connections to the database", ["pool", "state"]
        )
        self.heartbeats = counter("federated_heartbeats", "Number of heartbeats that this process has taken")
        self.state = StateMetrics(registry)
        self._begin_at_zero()
        self.model_files_removed = counter(
            "federated_model_files_removed", "Number of removed files of models and optimiser states"
        )

    @contextmanager
    def time_selection(self, training_id: str | None, number: int | None) -> Iterator[None]:
        """Time how long it takes to plan a round. If it is a training's, the time leads to the round's trace."""
        began = time.monotonic()
        try:
            yield
        finally:
            trace = None if training_id is None or number is None else self.exemplar_of(training_id, number)
            self.selection_duration.observe(time.monotonic() - began, trace)

    def watch_connections(self, pool: str, connections: Callable[[], tuple[int, int]]) -> None:
        """Show how many `connections` of a pool are in use and how many are idle, each time the metrics are read."""
        self._database_connections.labels(pool, "in_use").set_function(lambda: connections()[0])
        self._database_connections.labels(pool, "idle").set_function(lambda: connections()[1])

    def _begin_at_zero(self) -> None:
        """Show counters before the first time, since Prometheus cannot see a rise that begins with a new counter."""
        for outcome in sorted(ENDED):
            self.rounds.labels(outcome)
        for settled in sorted(SETTLED):
            self.participations.labels(settled)
            self.evaluations.labels(settled)
        for kind in get_args(FailureKind):
            for phase in get_args(FailurePhase):
                self.client_failures.labels(kind, phase)
        for state in get_args(BreakerState):
            self.breaker_changes.labels(state)
        for delivery in ("delivered", "failed", "dead"):
            self.webhook_deliveries.labels(delivery)
        for channel in ("push", "pull"):
            self.tasks_handed_over.labels(channel)
            for way in ("url", "server"):
                self.parameters_by_url.labels(channel, way)

    def watch_transactions(
        self, pool: str, *, refusals: Iterable[str], failures: Iterable[str]
    ) -> Callable[[str, float], None]:
        """Make a function that is told the kind and the seconds of each transaction of a pool.

        `refusals` and `failures` are the reasons that may be counted.
        """
        for reason in refusals:
            self.database_refusals.labels(pool, reason)
        for reason in failures:
            self.database_failures.labels(pool, reason)
        of_kind = {kind: self._transactions.labels(pool, kind) for kind in ("read", "write")}
        return lambda kind, seconds: of_kind[kind].observe(seconds)

    def count_part(self, kind: str, status: str, encoding: str = "full", coding: str = "identity") -> None:
        """Count a participation or an evaluation that ended, and an update by its form."""
        (self.participations if kind == "fit" else self.evaluations).labels(status).inc()
        if (kind, status) == ("fit", "received"):
            self.updates.labels(encoding, coding).inc()

    def count_report(self, outcome: str, phase: str) -> None:
        """Count the outcome of a call that an outside coordinator reported, and a failure as one of the client."""
        self._reports.labels(outcome, phase).inc()
        if outcome != "success":
            self.client_failures.labels(outcome, phase).inc()

    def show_measurements(self, training_id: str, *, accuracy: float | None, metric: str, value: float | None) -> None:
        """Show what was measured of the newest model. Only the trainings whose rounds ended last keep their labels.

        `value` is that of the goal's `metric`. What is None was not measured.
        """
        self._shown.pop(training_id, None)
        self._shown[training_id] = metric
        if accuracy is not None:
            _show(self._round_accuracy, accuracy, training_id)
        if value is not None:
            _show(self._goal_value, value, training_id, metric)
        if len(self._shown) > MAX_TRAININGS:
            self.hide_measurements(next(iter(self._shown)))

    def hide_measurements(self, training_id: str) -> None:
        """Show nothing of a training any more."""
        self.correct_measurements(training_id, accuracy=None, value=None)
        self._shown.pop(training_id, None)

    def show_progress(self, training_id: str, state: ProgressState | None) -> None:
        """Show whether a training that this process drives makes progress; None if it no longer drives it."""
        before = self._held_up.pop(training_id, None)
        if before is not None:
            self.held_up.labels(before[0]).dec()
            with suppress(KeyError):  # it had no label
                self.stalled_seconds.remove(training_id, before[0])
        if state not in HELD_UP:
            return
        since = time.monotonic() if before is None else before[1]
        self._held_up[training_id] = (state, since)
        self.held_up.labels(state).inc()
        if len(self._held_up) <= MAX_TRAININGS:
            self.stalled_seconds.labels(training_id, state).set_function(lambda: time.monotonic() - since)

    def count_clients(self, by_status: Mapping[ClientStatus, int]) -> None:
        """Note how many clients there are, and that they were counted now."""
        self._counted_at = time.monotonic()
        self._clients = sum(by_status.values())
        for status in CLIENT_STATUSES:
            self.clients.labels(status).set(by_status.get(status, 0))

    @property
    def shown_trainings(self) -> Collection[str]:
        """The ids of the trainings whose measurements are shown."""
        return list(self._shown)

    def correct_measurements(self, training_id: str, *, accuracy: float | None, value: float | None) -> None:
        """Show what is stored of a training that is shown, since another process may drive it by now."""
        metric = self._shown.get(training_id)
        if metric is None:
            return
        _show(self._round_accuracy, accuracy, training_id)
        _show(self._goal_value, value, training_id, metric)

    def count_bytes(self, client_id: str, *, sent: int = 0, received: int = 0) -> None:
        """Add to the traffic of one client, under its own name as long as there are few clients."""
        label = client_id if self._clients <= self._max_clients else OTHER
        counters = self._bytes_of.get(label)
        if counters is None:
            bytes_of = partial(self._communication_bytes.labels, label)
            self._bytes_of[label] = counters = bytes_of("sent"), bytes_of("received")
        for counter, size in zip(counters, (sent, received), strict=True):
            if size:
                counter.inc(size)


def _show(gauge: Gauge, value: float | None, *labels: str) -> None:
    """Show a value, or remove its labels where it is None."""
    if value is not None:
        gauge.labels(*labels).set(value)
        return
    with suppress(KeyError):  # it had none
        gauge.remove(*labels)
