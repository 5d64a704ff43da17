"""Domain values for the store to keep: complete, with plain defaults, and any field as a test wants it."""

from dataclasses import fields
from typing import Any

from app.domain.clients import Client, Profile
from app.domain.rounds import Round
from app.domain.trainings import Training, TrainingConfig
from app.store.models import ModelVersion

NOW = 1_700_000_000.25


def client(client_id: str = "a", **fields: Any) -> Client:
    given: dict[str, Any] = {
        "profile": Profile(url=f"http://{client_id}", data_size=10, compute_capacity=1.0, bandwidth=8.0, latency=5.0),
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Client(id=client_id, **(given | fields))


def training(training_id: str = "t", **fields: Any) -> Training:
    given: dict[str, Any] = {"config": TrainingConfig(name="test"), "created_at": NOW, "updated_at": NOW}
    return Training(id=training_id, **(given | fields))


def a_round(training_id: str = "t", number: int = 1, **fields: Any) -> Round:
    given: dict[str, Any] = {
        "status": "training",
        "seed": number,
        "started_at": NOW + number,
        "deadline_at": NOW + number + 60,
    }
    return Round(training_id=training_id, number=number, **(given | fields))


def version(round_number: int, digit: str, **fields: Any) -> ModelVersion:
    given: dict[str, Any] = {"training_id": "t", "sha256": digit * 64, "parent": None, "size": 8, "created_at": NOW}
    return ModelVersion(round=round_number, **(given | fields))


def unsaid(*values: Any) -> set[str]:
    """The fields of dataclasses that a sample leaves at their defaults: a column that is not kept would not show."""
    return {field.name for value in values for field in fields(value) if getattr(value, field.name) == field.default}
