"""Rounds in responses."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tcsfeel.contract.fields import Instant, ResponseModel
from tcsfeel.contract.goals import SummaryOut
from tcsfeel.contract.selections import PlanOut
from tcsfeel.rest.rows import flat_rows
from tcsfeel.wire.tasks import Scalar

Traceback = Annotated[
    str | None,
    Field(description="Last lines of the traceback of an exception in its trainer; null in lists of rounds"),
]


class EvidenceOut(ResponseModel):
    """Two texts in the form of RFC 9421, section 2.5, which prove whose update a participation has."""

    call: Annotated[str, Field(description="What the server signed when it asked for the update")]
    answer: Annotated[
        str, Field(description="What the device signed: the digest of the update, and the signature of the call")
    ]
    signature: Annotated[
        str, Field(description="Ed25519 signature of `answer`, base64 between colons; `keyid` in it is the public key")
    ]


class ParticipationOut(ResponseModel):
    """One client's part in a round."""

    client_id: str
    status: Literal["pending", "training", "received", "rejected", "failed", "skipped", "carried"]
    attempts: int
    reason: str | None
    num_examples: int | None
    loss: float | None
    accuracy: float | None
    metrics: Annotated[dict[str, float], Field(description="What it measured besides the loss, by name")] = {}
    traceback: Traceback = None
    update_norm: Annotated[
        float | None, Field(description="Norm of the difference between its update and the round's base model")
    ]
    num_steps: Annotated[int | None, Field(description="How many local steps it says that its training took")] = None
    digest: Annotated[str | None, Field(description="SHA-256 of its update in hexadecimal, as it was sent")] = None
    weight: Annotated[
        float | None, Field(description="Its share of the mean; null if its examples alone decide it")
    ] = None
    evidence: Annotated[
        EvidenceOut | None,
        Field(description="The signatures of its update; null if its device has no key, and in lists of rounds"),
    ] = None
    relay: Annotated[
        str | None, Field(description="The client that relayed its update; null if it came from its own agent")
    ] = None
    begun_in: Annotated[
        int | None, Field(description="The round in which its task began, if the task was carried from that round")
    ] = None
    base_model: Annotated[
        str | None, Field(description="SHA-256 of the model that a carried task began with; null for all others")
    ] = None
    staleness: Annotated[
        int, Field(description="How many model versions old the model was that it began with, when the round began")
    ] = 0
    carried_to: Annotated[
        int | None, Field(description="The round into which the task of a `carried` client went on; null before that")
    ] = None
    asked_steps: Annotated[
        int | None,
        Field(description="How many steps it was asked for, if it took `num_steps` only; null if it took all"),
    ] = None
    local_epochs: Annotated[
        int | None, Field(description="How many local epochs its task asks for; null if all of the training's")
    ] = None
    bytes_sent: int
    bytes_received: int
    seconds: float | None
    score: float
    components: dict[str, float]


class ClientEvaluationOut(ResponseModel):
    """One client's measurement of a round's new model."""

    client_id: str
    status: Literal["pending", "training", "received", "rejected", "failed", "skipped"]
    attempts: int
    reason: str | None
    num_examples: int | None
    loss: float | None
    accuracy: float | None
    metrics: Annotated[dict[str, float], Field(description="What it measured besides the loss")] = {}
    traceback: Traceback = None
    bytes_sent: int
    bytes_received: int
    seconds: float | None


class TargetDoubtOut(ResponseModel):
    """The client without whose measurement a round would not have reached the target."""

    client_id: str
    mean: Annotated[float, Field(description="Mean of the other clients' measurements of the goal's metric")]


class RoundOut(ResponseModel):
    """One round of a training."""

    training_id: Annotated[str | None, Field(description="Null in answers of servers that do not name it")] = None
    number: int
    status: Literal["selecting", "training", "aggregating", "evaluating", "completed", "abandoned"]
    started_at: Instant
    deadline_at: Instant
    ended_at: Instant | None
    selected_clients: list[str]
    average_accuracy: Annotated[float | None, Field(description="Accuracy of the new global model, on held-out data")]
    average_loss: float | None
    goal_value: Annotated[float | None, Field(description="The mean of the goal's metric")] = None
    metrics: Annotated[
        dict[str, SummaryOut], Field(description="What clients measured of the new model on held-out data, by metric")
    ] = {}
    training_metrics: Annotated[
        dict[str, SummaryOut], Field(description="What clients measured while they trained, on their own data")
    ] = {}
    target_doubt: Annotated[
        TargetDoubtOut | None,
        Field(description="Set if the target was not accepted because it depends on one client's measurement"),
    ] = None
    communication_cost: Annotated[float | None, Field(description="Link time in seconds")]
    communication_bytes: Annotated[
        int, Field(description="Bytes of request and response bodies that the server exchanged with agents")
    ]
    convergence_speed: Annotated[
        float | None, Field(description="Improvement of the goal's metric per second since the previous round")
    ]
    fairness: Annotated[float | None, Field(description="Jain's index of how often each client has taken part")]
    label_divergence: float | None
    model: Annotated[str | None, Field(description="SHA-256 of the model version that the round made")]
    failure_reason: str | None
    weighting: Annotated[
        str | None, Field(description="What the weights of its updates go by; null if their examples alone decide")
    ] = None
    hyperparameters: Annotated[
        dict[str, Scalar] | None,
        Field(description="The values with which the round began, also those of schedules; null if they were not kept"),
    ] = None
    deadline_seconds: Annotated[float | None, Field(description="The longest that it may take, without waits")] = None
    waiting_since: Annotated[
        Instant | None, Field(description="Since when the round has waited for clients; waiting moves its deadline")
    ] = None
    waited_seconds: Annotated[
        float, Field(description="Seconds that the round waited or made no progress; its deadline was moved by as much")
    ] = 0.0
    seed: int
    connectivity_version: int | None
    plan: PlanOut | None
    participations: list[ParticipationOut]
    evaluations: Annotated[
        list[ClientEvaluationOut], Field(description="Results of the clients that were asked to evaluate")
    ]

    def rows(self) -> list[dict[str, Any]]:
        """Return a flat row for each participation, then for each evaluation, with its metrics as `metrics.NAME`."""
        return list(flat_rows(self.model_dump()))
