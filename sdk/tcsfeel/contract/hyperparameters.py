"""Hyperparameters in requests: the values for trainers and for aggregation."""

from types import NoneType
from typing import Annotated, Any

from pydantic import ConfigDict, Field, PlainValidator, TypeAdapter, model_validator

from tcsfeel.aggregation.config import Aggregation
from tcsfeel.contract.fields import PLAIN_PATTERN, STRICT, PlainText, RequestModel
from tcsfeel.contract.schedules import AS_GIVEN, ScheduleIn, read_schedule, scheduled
from tcsfeel.schedules import Schedule
from tcsfeel.wire.tasks import LEARNING_RATE, Scalar

DEFAULT_PROXIMAL_MU = 0.01
MAX_HYPERPARAMETERS = 256

Rate = Annotated[float, Field(gt=0, le=1e6)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Epochs = Annotated[int, Field(ge=1, le=1_000_000, description="How often a client goes through its data in each round")]
LocalRate = Annotated[Rate, Field(description="How large the steps are with which clients train")]
Batch = Annotated[int, Field(ge=1, le=10**9, description="How many samples a client uses for one step")]
ServerRate = Annotated[
    Rate,
    Field(
        description="How far the model moves along the mean of the updates; 1 if absent, 0.1 with `fedadam`, `fedyogi`"
        " and `fedadagrad`"
    ),
]
ServerMomentum = Annotated[
    Momentum,
    Field(description="How much of the last move goes on; 0 if absent, 0.9 with `fedavgm`, `fedadam` and `fedyogi`"),
]
SecondMomentum = Annotated[
    Momentum, Field(description="With `fedadam` and `fedyogi`: how much of the last squares stays; 0.99 if absent")
]
Adaptivity = Annotated[
    Rate,
    Field(description="With `fedadam`, `fedyogi`, `fedadagrad`: keeps steps from being too large; 0.001 if absent"),
]
Proximal = Annotated[
    float, Field(ge=0, le=1e6, description="Weight of the proximal term; 0 if absent, 0.01 with fedprox")
]
Norm = Annotated[float, Field(gt=0, le=1e12, description="Updates with a larger norm are shortened to this norm")]
Multiple = Annotated[
    float,
    Field(
        ge=1,
        le=1e12,
        description="Largest weight that a client may have, as a multiple of the median weight; 10 if absent",
    ),
]
Share = Annotated[
    float,
    Field(ge=0.01, le=1, description="Largest share of the total weight that a client may have; 0.3 to 0.5 if absent"),
]
Factor = Annotated[
    float,
    Field(
        gt=1,
        le=1e12,
        description="Largest norm that an update may have, as a multiple of the round's median; 1000 if absent",
    ),
]
Nesterov = Annotated[bool, Field(description="Whether `server_momentum` is Nesterov's; false if absent")]
Penalty = Annotated[
    float,
    Field(
        ge=1e-6,
        le=1e6,
        description="With `balanced`: how much weights that differ from those of `fedavg` count; 0.03 if absent",
    ),
]
Fraction = Annotated[
    float, Field(gt=0, lt=0.5, description="Share of the values that is cut at each end; 0.25 if absent")
]

_Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]
_Text = Annotated[str, Field(pattern=PLAIN_PATTERN, max_length=1024)]
_SCALARS: dict[type, TypeAdapter[Any]] = {
    bool: TypeAdapter(bool, config=STRICT),
    int: TypeAdapter(_Whole, config=STRICT),
    float: TypeAdapter(float, config=STRICT),
    str: TypeAdapter(_Text, config=STRICT),
    NoneType: TypeAdapter(None),
}


def _scalar(value: Any) -> Any:
    """Check the value by its type. A union of types would also report why the value is not of each other type."""
    if isinstance(value, dict | ScheduleIn):
        return read_schedule(value)
    if type(value) not in _SCALARS:
        raise ValueError("should be a string, a number, true, false, null or a schedule")
    return _SCALARS[type(value)].validate_python(value)


Value = Annotated[
    Scalar | ScheduleIn,
    PlainValidator(_scalar, json_schema_input_type=bool | _Whole | float | _Text | None | ScheduleIn),
    AS_GIVEN,
]


class Hyperparameters(RequestModel):
    """Values for the trainer, which may include keys of your own.

    Those that begin with `server_` are for aggregation. A schedule in place of a number gives each round its own.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[Annotated[PlainText, Field(min_length=1)], Value] = Field(init=False)

    local_epochs: Annotated[int | ScheduleIn, scheduled(Epochs), AS_GIVEN] = 1
    learning_rate: Annotated[float | ScheduleIn, scheduled(LocalRate), AS_GIVEN] = LEARNING_RATE
    batch_size: Annotated[int | ScheduleIn, scheduled(Batch), AS_GIVEN] = 32
    proximal_mu: Annotated[float | ScheduleIn, scheduled(Proximal), AS_GIVEN] | None = None
    server_learning_rate: Annotated[float | ScheduleIn, scheduled(ServerRate), AS_GIVEN] | None = None
    server_momentum: Annotated[float | ScheduleIn, scheduled(ServerMomentum), AS_GIVEN] | None = None
    server_nesterov: Nesterov | None = None
    server_balance_penalty: Annotated[float | ScheduleIn, scheduled(Penalty), AS_GIVEN] | None = None
    server_second_momentum: Annotated[float | ScheduleIn, scheduled(SecondMomentum), AS_GIVEN] | None = None
    server_adaptivity: Annotated[float | ScheduleIn, scheduled(Adaptivity), AS_GIVEN] | None = None
    server_clip_norm: Annotated[float | ScheduleIn, scheduled(Norm), AS_GIVEN] | None = None
    server_largest_multiple: Annotated[float | ScheduleIn, scheduled(Multiple), AS_GIVEN] | None = None
    server_largest_share: Annotated[float | ScheduleIn, scheduled(Share), AS_GIVEN] | None = None
    server_outlier_factor: Annotated[float | ScheduleIn, scheduled(Factor), AS_GIVEN] | None = None
    server_trim_fraction: Annotated[float | ScheduleIn, scheduled(Fraction), AS_GIVEN] | None = None
    server_byzantine_clients: (
        Annotated[
            int,
            Field(ge=0, le=100_000, description="Number of hostile updates to withstand; a quarter of all if absent"),
        ]
        | None
    ) = None

    @model_validator(mode="before")
    @classmethod
    def _not_too_many(cls, given: Any) -> Any:
        """Count the keys first, so that a hundred thousand of them are not each checked and reported."""
        if isinstance(given, dict) and len(given.keys() - cls.model_fields.keys()) > MAX_HYPERPARAMETERS:
            raise ValueError(f"should have at most {MAX_HYPERPARAMETERS} keys of your own")
        return given

    def values(self, aggregation: Aggregation) -> dict[str, Scalar]:
        """Return the values to store and send: those that were given, and the defaults that matter."""
        given: dict[str, Scalar] = {
            name: value for name, value in self if value is not None and not isinstance(value, ScheduleIn)
        }
        if aggregation == "fedprox" and self.proximal_mu is None:
            given["proximal_mu"] = DEFAULT_PROXIMAL_MU
        return given

    def schedules(self) -> dict[str, Schedule]:
        """Return the schedules that were given in place of a value, by the name of the hyperparameter."""
        return {name: value.made() for name, value in self if isinstance(value, ScheduleIn)}
