"""The task handed over and the result given back: JSON in the metadata of a parameter file."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.wire.errors import MalformedMetadata

TaskKind = Literal["fit", "evaluate"]
Scalar = bool | int | float | str | None


class WireModel(BaseModel):
    """Strict and finite. Unknown fields are ignored, so that a newer peer can say more."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="ignore")


class Task(WireModel):
    """One piece of work for one agent; `id` (see `task_id`) stays the same across retries."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    kind: TaskKind
    training_id: str
    round: Annotated[int, Field(ge=0)]
    hyperparameters: dict[str, Scalar] = {}
    deadline_seconds: Annotated[float, Field(gt=0)]


class TaskResult(WireModel):
    """What an agent measured: examples used, mean loss, accuracy (0..1), and how long it worked (seconds)."""

    num_examples: Annotated[int, Field(ge=1)]
    loss: float
    accuracy: Annotated[float, Field(ge=0, le=1)]
    train_seconds: Annotated[float, Field(ge=0)] = 0.0


Model = TypeVar("Model", bound=WireModel)


def task_id(training_id: str, round_number: int, client_id: str, kind: TaskKind) -> str:
    """The name of a piece of work, the same for every try of it."""
    return f"{training_id}.{round_number}.{client_id}.{kind}"


def task_metadata(task: Task) -> dict[str, str]:
    return {"task": task.model_dump_json()}


def result_metadata(result: TaskResult) -> dict[str, str]:
    return {"result": result.model_dump_json()}


def read_task(metadata: Mapping[str, str]) -> Task:
    """Raises `MalformedMetadata` where there is no valid task."""
    return _read(Task, "task", metadata)


def read_result(metadata: Mapping[str, str]) -> TaskResult:
    """Raises `MalformedMetadata` where there is no valid result."""
    return _read(TaskResult, "result", metadata)


def _read(model: type[Model], key: str, metadata: Mapping[str, str]) -> Model:
    text = metadata.get(key)
    if text is None:
        raise MalformedMetadata(f"the metadata has no {key!r}")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join([key, *map(str, first["loc"])])
        raise MalformedMetadata(f"{place}: {first['msg']}") from error
