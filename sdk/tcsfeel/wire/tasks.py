"""The task handed over and the result given back: JSON in the metadata of a parameter file."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tcsfeel.wire.errors import MalformedMetadata, quoted

TaskKind = Literal["fit", "evaluate"]
Scalar = bool | int | float | str | None


EncodingName = Literal["full", "float16", "int8"]
# A squared error of values in the tens of millions is 1e15: a larger loss tells of a training that has diverged, and
# sums and squares of losses have to stay finite. Examples are counted in 64 bits; 1e9 seconds are thirty years.
LARGEST_LOSS = 1e15
MOST_EXAMPLES = 10**15
MOST_SECONDS = 1e9
LARGEST_SCALE = (2.0 - 2.0**-23) * 2.0**127  # that a float32 holds


class WireModel(BaseModel):
    """Strict and finite. Unknown fields are ignored, so that a newer peer can say more."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="ignore")


class Task(WireModel):
    """One piece of work for one agent; `id` (see `task_id`) stays the same across retries.

    `update_encoding` is an offer: an agent that does not know this name, or the field, sends its update in full.
    """

    id: Annotated[str, Field(min_length=1, max_length=256)]
    kind: TaskKind
    training_id: str
    round: Annotated[int, Field(ge=0)]
    hyperparameters: dict[str, Scalar] = {}
    deadline_seconds: Annotated[float, Field(gt=0)]
    update_encoding: str = "full"


class TaskResult(WireModel):
    """What an agent measured: examples used, mean loss, accuracy (0..1), and how long it worked (seconds)."""

    num_examples: Annotated[int, Field(ge=1, le=MOST_EXAMPLES)]
    loss: Annotated[float, Field(ge=-LARGEST_LOSS, le=LARGEST_LOSS)]
    accuracy: Annotated[float, Field(ge=0, le=1)]
    train_seconds: Annotated[float, Field(ge=0, le=MOST_SECONDS)] = 0.0


class UpdateEncoding(WireModel):
    """How the tensors of a fit result are to be read; `scales` are those of int8, by tensor."""

    name: EncodingName
    scales: dict[str, Annotated[float, Field(ge=0, le=LARGEST_SCALE)]] = {}


class _Amount(WireModel):
    num_examples: Annotated[int, Field(ge=0)]


FULL = UpdateEncoding(name="full")
NOTHING_HELD_OUT: Mapping[str, str] = {"result": _Amount(num_examples=0).model_dump_json()}
"""The metadata of an evaluate result from an agent that has no examples to measure with."""

Model = TypeVar("Model", bound=WireModel)


def task_id(training_id: str, round_number: int, client_id: str, kind: TaskKind) -> str:
    """The name of a piece of work, the same for every try of it."""
    return f"{training_id}.{round_number}.{client_id}.{kind}"


def task_metadata(task: Task) -> dict[str, str]:
    return {"task": task.model_dump_json()}


def result_metadata(result: TaskResult, encoding: UpdateEncoding = FULL) -> dict[str, str]:
    encoded = {} if encoding.name == "full" else {"update_encoding": encoding.model_dump_json()}
    return {"result": result.model_dump_json(), **encoded}


def read_task(metadata: Mapping[str, str]) -> Task:
    """Raises `MalformedMetadata` where there is no valid task."""
    return _read(Task, "task", metadata)


def read_result(metadata: Mapping[str, str]) -> TaskResult:
    """Raises `MalformedMetadata` where there is no valid result."""
    return _read(TaskResult, "result", metadata)


def read_measurement(metadata: Mapping[str, str]) -> TaskResult | None:
    """An evaluate result; None from an agent that has no examples to measure with, whatever else it says then.

    Raises `MalformedMetadata` where there is no valid result.
    """
    return read_result(metadata) if _read(_Amount, "result", metadata).num_examples else None


def read_encoding(metadata: Mapping[str, str]) -> UpdateEncoding:
    """Where nothing is said, the update is in full. Raises `MalformedMetadata` where what is said is not valid."""
    return _read(UpdateEncoding, "update_encoding", metadata) if "update_encoding" in metadata else FULL


def _read(model: type[Model], key: str, metadata: Mapping[str, str]) -> Model:
    text = metadata.get(key)
    if text is None:
        raise MalformedMetadata(f"the metadata has no {key!r}")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        loc = map(str, first["loc"])
        place = ".".join([key, *(part if part.isidentifier() else quoted(part) for part in loc)])
        raise MalformedMetadata(f"{place}: {first['msg']}") from error
