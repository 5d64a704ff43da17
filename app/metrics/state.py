"""The gauges of what a server finds out when its metrics are read: of the database, the disks and the spools."""

import time
from collections.abc import Mapping
from functools import partial
from typing import get_args

from prometheus_client import CollectorRegistry, Gauge

from app.domain.trainings import TrainingStatus

TRAINING_STATUSES: tuple[TrainingStatus, ...] = get_args(TrainingStatus)


class StateMetrics:
    """The gauges in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self._since_best_of: set[str] = set()
        self._database_bytes = gauge("federated_database_bytes", "Size of the database in bytes")
        self._disk_free = gauge(
            "federated_disk_free_bytes", "Bytes of the disk at a place that this process may still write to", ["place"]
        )
        self._disk_size = gauge("federated_disk_size_bytes", "Size of the disk at a place in bytes", ["place"])
        self.spool_memory = gauge("federated_spool_memory_bytes", "Bytes of agents' answers that are kept in memory")
        self.spool_memory_limit = gauge(
            "federated_spool_memory_limit_bytes", "Bytes of agents' answers that are kept in memory at most"
        )
        self.heartbeats_waiting = gauge(
            "federated_heartbeats_waiting", "Number of clients whose last heartbeat is not written yet"
        )
        self._mailbox_tasks = gauge(
            "federated_mailbox_tasks", "Number of tasks that wait for their agents to ask for them"
        )
        self._mailbox_age = gauge(
            "federated_mailbox_oldest_task_seconds", "How long the oldest task has waited for its agent to ask for it"
        )
        self.failing_webhooks = gauge(
            "federated_failing_webhooks", "Number of webhooks whose receivers did not take the last event"
        )
        self._trainings = gauge("federated_trainings", "Number of trainings", ["status"])
        self._overdue = gauge(
            "federated_round_overdue_seconds", "How long ago the deadline of the open round that is latest has passed"
        )
        self._since_best = gauge(
            "federated_rounds_since_best",
            "Number of rounds that a running training has begun since the one with its best value",
            ["training"],
        )
        self.age = gauge(
            "federated_vitals_age_seconds", "Time since the database was last asked for its state, or since the start"
        )
        self._asked_at = time.monotonic()
        self.age.set_function(lambda: time.monotonic() - self._asked_at)

    def show_database(self, *, size: int, overdue_seconds: float, by_status: Mapping[TrainingStatus, int]) -> None:
        """Show the size of the database and what it says of trainings and rounds, and that it was asked now."""
        self._asked_at = time.monotonic()
        self._database_bytes.set(size)
        self._overdue.set(overdue_seconds)
        for status in TRAINING_STATUSES:
            self._trainings.labels(status).set(by_status.get(status, 0))

    def show_since_best(self, rounds: Mapping[str, int]) -> None:
        """Show how many `rounds` have begun since the best one, by training. Others lose their labels."""
        for gone in self._since_best_of - rounds.keys():
            self._since_best.remove(gone)
        self._since_best_of = set(rounds)
        for training_id, count in rounds.items():
            self._since_best.labels(training_id).set(count)

    def show_mailbox(self, *, tasks: int, oldest_seconds: float) -> None:
        """Show how many tasks wait for their agents to ask for them, and for how long the oldest one has."""
        self._mailbox_tasks.set(tasks)
        self._mailbox_age.set(oldest_seconds)

    def show_disk(self, place: str, *, free: float, size: float) -> None:
        """Show how many bytes of the disk at a place are free; NaN if that cannot be found out."""
        self._disk_free.labels(place).set(free)
        self._disk_size.labels(place).set(size)
