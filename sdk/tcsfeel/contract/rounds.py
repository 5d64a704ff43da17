"""Rounds in responses."""

from typing import Annotated, Literal

from pydantic import Field

from tcsfeel.contract.fields import Instant, ResponseModel
from tcsfeel.contract.selections import PlanOut


class ParticipationOut(ResponseModel):
    """One client's part in a round."""

    client_id: str
    status: Literal["pending", "training", "received", "rejected", "failed", "skipped"]
    attempts: int
    reason: str | None
    num_examples: int | None
    loss: float | None
    accuracy: float | None
    update_norm: Annotated[float | None, Field(description="How far its update went from the round's base model")]
    bytes_sent: int
    bytes_received: int
    seconds: float | None
    score: float
    components: dict[str, float]


class ClientEvaluationOut(ResponseModel):
    """One client's measurement of a round's new model."""

    client_id: str
    status: Literal["received", "rejected", "failed", "skipped"]
    attempts: int
    reason: str | None
    num_examples: int | None
    loss: float | None
    accuracy: float | None
    bytes_sent: int
    bytes_received: int
    seconds: float | None


class TargetDoubtOut(ResponseModel):
    """The client without which a round's accuracy does not reach the target."""

    client_id: str
    accuracy: Annotated[float, Field(description="Of the other clients' measurements: the mean without this client")]


class RoundOut(ResponseModel):
    """One round of a training."""

    number: int
    status: Literal["selecting", "training", "aggregating", "evaluating", "completed", "abandoned"]
    started_at: Instant
    deadline_at: Instant
    ended_at: Instant | None
    selected_clients: list[str]
    average_accuracy: Annotated[float | None, Field(description="Of the new global model, on held-out data")]
    average_loss: float | None
    target_doubt: Annotated[
        TargetDoubtOut | None, Field(description="Set where the target was not accepted since it rests on one client")
    ] = None
    communication_cost: Annotated[float | None, Field(description="Seconds of link time")]
    communication_bytes: Annotated[int, Field(description="Bodies that crossed the coordinator's links")]
    convergence_speed: Annotated[float | None, Field(description="Accuracy per second since the round before")]
    fairness: Annotated[float | None, Field(description="Jain's index of how often each client has taken part")]
    label_divergence: float | None
    model: Annotated[str | None, Field(description="SHA-256 of the model version that the round made")]
    failure_reason: str | None
    waiting_since: Annotated[
        Instant | None, Field(description="Since when it waits for clients; its deadline does not run meanwhile")
    ] = None
    waited_seconds: Annotated[float, Field(description="Seconds that it waited or stood still, given back to it")] = 0.0
    seed: int
    connectivity_version: int | None
    plan: PlanOut | None
    participations: list[ParticipationOut]
    evaluations: Annotated[list[ClientEvaluationOut], Field(description="Of the clients that were asked to evaluate")]
