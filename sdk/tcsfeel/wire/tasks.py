"""Define tasks and their results, which are JSON in the metadata of a parameter file."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tcsfeel.wire.errors import MalformedMetadata
from tcsfeel.wire.groups import LONGEST_PATTERN, MOST_PATTERNS
from tcsfeel.wire.records import (
    AnyRecord,
    Record,
    Rule,
    WrongField,
    from_json,
    mapping,
    one_of,
    optional,
    real,
    scalar,
    text,
    texts,
    whole,
)

TaskKind = Literal["fit", "evaluate"]
AskedKind = Literal["fit", "evaluate", "model"]
"""What an agent may be asked for. Only an agent that pulls gets a ``model`` task, which asks for initial parameters."""
Scalar = bool | int | float | str | None


EncodingName = Literal["full", "float16", "int8"]
# A squared error of values in the tens of millions is 1e15: a larger loss tells of a training that has diverged, and
# sums and squares of losses have to stay finite. Examples are counted in 64 bits; 1e9 seconds are thirty years.
LARGEST_LOSS = 1e15
MOST_EXAMPLES = 10**15
MOST_SECONDS = 1e9
MOST_STEPS = 10**12
LEARNING_RATE = 0.1  # of a task that does not say one
LARGEST_SCALE = (2.0 - 2.0**-23) * 2.0**127  # that a float32 holds
MOST_METRICS = 32  # in one result
LONGEST_METRIC = 64  # characters of a metric's name

_round = whole(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Record):
    """One piece of work for one agent; `id` (see `task_id`) stays the same across retries.

    `update_encoding` is an offer: an agent that does not know this name, or the field, sends its update in full.

    `local_tensors` and `frozen_tensors` are patterns for names of tensors (`groups`) that the update does not hold. The
    local ones stay at the agent and do not come with the task. The frozen ones, which never change, come with it unless
    the agent has kept those that `frozen_id` names.

    If the training uses SCAFFOLD, `control_round` is the last round in which the server used an update of this client,
    0 if there is none, and `correction` is what a trainer has to add to the gradient of each tensor, by name. It is
    empty under every other rule, and not part of the JSON.

    `partial_margin` is how many seconds before the deadline a part of the work is wanted; 0 if only whole work counts.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "id": text(1, 256),
        "kind": one_of("fit", "evaluate", "model"),
        "training_id": text(),
        "round": _round,
        "hyperparameters": mapping(scalar),
        "deadline_seconds": real(above=0),
        "update_encoding": text(),
        "local_tensors": texts(MOST_PATTERNS, LONGEST_PATTERN),
        "frozen_tensors": texts(MOST_PATTERNS, LONGEST_PATTERN),
        "frozen_id": text(0, 64),
        "control_round": optional(_round),
        "partial_margin": real(0),
    }

    id: str
    kind: AskedKind
    training_id: str
    round: int
    hyperparameters: dict[str, Scalar] = field(default_factory=dict)
    deadline_seconds: float
    update_encoding: str = "full"
    local_tensors: tuple[str, ...] = ()
    frozen_tensors: tuple[str, ...] = ()
    frozen_id: str = ""
    control_round: int | None = None
    partial_margin: float = 0.0
    correction: Mapping[str, npt.NDArray[np.floating[Any]]] = field(default_factory=dict, compare=False, repr=False)

    def to_json(self) -> str:
        """Write the task, without optional fields that have their defaults."""
        found = {name: getattr(self, name) for name in self.rules}
        said = {name: entry for name, entry in found.items() if name not in _OPTIONAL or entry != _OPTIONAL[name]}
        return json.dumps(said, ensure_ascii=False, separators=(",", ":"))


_OPTIONAL = {"local_tensors": (), "frozen_tensors": (), "frozen_id": "", "control_round": None, "partial_margin": 0.0}


def metric_name(value: object) -> str:
    """Check the name of a metric: a letter, then letters, digits, ``_``, ``-``, ``.``, ``/`` or ``@``."""
    if not isinstance(value, str) or not _METRIC_NAME.fullmatch(value):
        raise WrongField(
            f"should have names that are a letter and at most {LONGEST_METRIC - 1} more characters, each a letter,"
            " a digit or one of _ - . / @",
            value,
        )
    return value


def _metrics(value: object) -> dict[str, float]:
    """Check the metrics. The loss is not one of them, because it has its own field."""
    if not isinstance(value, Mapping):
        raise WrongField("should be an object", value)
    if len(value) > MOST_METRICS:
        raise WrongField(f"should have at most {MOST_METRICS} entries, not {len(value)}")
    if LOSS in value:
        raise WrongField(f"should not have {LOSS!r}, because a result has a field for it")
    found = {}
    for name, number in value.items():
        rule = _share if metric_name(name) == ACCURACY else _measurement
        try:
            found[name] = rule(number)
        except WrongField as error:
            raise error.below(name) from None
    return found


ACCURACY = "accuracy"
LOSS = "loss"
_METRIC_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_./@-]{{0,{LONGEST_METRIC - 1}}}")
_measurement = real(-LARGEST_LOSS, LARGEST_LOSS)
_share = real(0, 1)
_steps = whole(1, MOST_STEPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult(Record):
    """What an agent measured.

    Attributes:
        num_examples: how many examples it used.
        loss: the mean loss over them.
        accuracy: the fraction 0..1 that the model got right; None if the model does not classify.
        metrics: measurements other than the loss, by name, with the accuracy if it is known; at most 32 in all.
        train_seconds: how long the agent worked.
        num_steps: how many steps of gradient descent a fit result took; None if it does not say.
        partial: whether it took only `num_steps` of the `asked_steps` of its task, which are None otherwise.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "num_examples": whole(1, MOST_EXAMPLES),
        "loss": _measurement,
        "accuracy": optional(_share),
        "metrics": _metrics,
        "train_seconds": real(0, MOST_SECONDS),
        "num_steps": optional(_steps),
        "partial": scalar,
        "asked_steps": optional(_steps),
    }

    num_examples: int
    loss: float
    accuracy: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    train_seconds: float = 0.0
    num_steps: int | None = None
    partial: bool = False
    asked_steps: int | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if self.partial is not (self.asked_steps is not None):
            raise WrongField("should be true with asked_steps, and false without", place="partial")
        if self.asked_steps is not None and not 0 < (self.num_steps or 0) <= self.asked_steps:
            raise WrongField("should be there with asked_steps, and at most as many", place="num_steps")
        given = self.metrics.get(ACCURACY)
        if self.accuracy is None:
            object.__setattr__(self, "accuracy", given)
        elif given is None:
            object.__setattr__(self, "metrics", {ACCURACY: self.accuracy, **self.metrics})
        elif given != self.accuracy:
            raise WrongField(f"is {self.accuracy:.6g}, but {given:.6g} among the metrics", place=ACCURACY)

    def to_json(self) -> str:
        """Write the result. The accuracy is in its own field, where older servers look for it."""
        found = {name: getattr(self, name) for name in self.rules}
        found["metrics"] = {name: number for name, number in self.metrics.items() if name != ACCURACY}
        known = {name: entry for name, entry in found.items() if not (entry is None or entry is False or entry == {})}
        return json.dumps(known, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateEncoding(Record):
    """Says how the tensors of a fit result are encoded; `scales` are those of int8, by tensor."""

    rules: ClassVar[Mapping[str, Rule]] = {
        "name": one_of("full", "float16", "int8"),
        "scales": mapping(real(0, LARGEST_SCALE)),
    }

    name: EncodingName
    scales: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Record):
    """Says where the parameters of a task are, if they do not come with it: in the file at `url`.

    The file has `size` bytes with this `sha256`. An update may be put at `upload`, if there is one. Whoever knows the
    URLs can use them, so they must not be shown.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "url": text(1, 8192), "sha256": text(64, 64), "size": whole(1), "upload": text(0, 8192)
    }  # fmt: skip

    url: str = field(repr=False)
    sha256: str
    size: int
    upload: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Amount(Record):
    rules: ClassVar[Mapping[str, Rule]] = {"num_examples": whole(0)}

    num_examples: int


FULL = UpdateEncoding(name="full")
BY_URL = "Tcsfeel-By-Url"
"""The header with which an agent says whether its tasks may have a `Source` (``?1``), or not any more, and why."""
UNMATCHED_LOCAL = "unmatched_local"
"""The metadata entry of initial parameters that lists, as JSON, the patterns of local tensors that match none."""
NOTHING_HELD_OUT: Mapping[str, str] = {"result": _Amount(num_examples=0).to_json()}
"""The metadata of an evaluate result from an agent that has no examples to measure with."""


def task_id(training_id: str, round_number: int, client_id: str, kind: AskedKind) -> str:
    """Return the id of a task, which is the same for every try."""
    return f"{training_id}.{round_number}.{client_id}.{kind}"


def task_metadata(task: Task) -> dict[str, str]:
    return {"task": task.to_json()}


def result_metadata(result: TaskResult, encoding: UpdateEncoding = FULL) -> dict[str, str]:
    encoded = {} if encoding.name == "full" else {"update_encoding": encoding.to_json()}
    return {"result": result.to_json(), **encoded}


def read_task(metadata: Mapping[str, str]) -> Task:
    """Read the task. Raises `MalformedMetadata` if there is no valid one."""
    return _read(Task, "task", metadata)


def read_source(metadata: Mapping[str, str]) -> Source | None:
    """Read where the parameters of a task are; None if they come with it. Raises `MalformedMetadata`."""
    return _read(Source, "source", metadata) if "source" in metadata else None


def read_result(metadata: Mapping[str, str]) -> TaskResult:
    """Read the result. Raises `MalformedMetadata` if there is no valid one."""
    return _read(TaskResult, "result", metadata)


def read_measurement(metadata: Mapping[str, str]) -> TaskResult | None:
    """Read an evaluate result. Returns None if the agent has no examples to measure with, and then ignores the rest.

    Raises `MalformedMetadata` if there is no valid result.
    """
    return read_result(metadata) if _read(_Amount, "result", metadata).num_examples else None


def read_encoding(metadata: Mapping[str, str]) -> UpdateEncoding:
    """Read the encoding of an update; without one it is in full. Raises `MalformedMetadata` if it is not valid."""
    return _read(UpdateEncoding, "update_encoding", metadata) if "update_encoding" in metadata else FULL


def _read(record: type[AnyRecord], key: str, metadata: Mapping[str, str]) -> AnyRecord:
    if key not in metadata:
        raise MalformedMetadata(f"the metadata has no {key!r}")
    try:
        return from_json(record, metadata[key])
    except WrongField as error:
        raise MalformedMetadata(str(error.below(key))) from error
