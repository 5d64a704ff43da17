"""Trainings that go on, in requests: with changes, with more rounds, or as a new training."""

import json
from typing import Annotated, Any

from pydantic import Field, PlainValidator, model_validator

from tcsfeel.contract.fields import ID_PATTERN, PlainText, RequestModel, wrong_fields
from tcsfeel.contract.schedules import MOST_ROUNDS
from tcsfeel.contract.trainings import CreateTraining, TrainingOut
from tcsfeel.wire.tasks import ACCURACY

TrainingId = Annotated[str, Field(pattern=ID_PATTERN, examples=["3f0c2a9d5b7e4c11"])]
Part = Annotated[dict[str, Any] | None, Field(description="Its fields that change; null removes one")]


def _without(model: type[RequestModel], given: Any, rule: str) -> Any:
    """Refuse the fields of a new training that `model` does not have."""
    fixed = CreateTraining.model_fields.keys() - model.model_fields.keys()
    rules = {name: rule for name in given if name in fixed} if isinstance(given, dict) else {}
    if "statistics" in rules:
        rules["statistics"] = "is the older name of parameters.averaged, which can change until there is a model"
    if rules:
        raise wrong_fields([((name,), words) for name, words in rules.items()])
    return given


class _Changes(RequestModel):
    """The fields of a JSON merge patch (RFC 7396) of what a training was created with."""

    max_bytes = CreateTraining.max_bytes
    max_items = CreateTraining.max_items

    name: PlainText | None = None
    target_accuracy: Annotated[float | None, Field(description="Short for the target of a goal on accuracy")] = None
    goal: Part = None
    max_rounds: int | None = None
    selection: Part = None
    where: Part = None
    hyperparameters: Part = None
    round_policy: Part = None
    evaluation: Part = None
    uploads: Part = None
    retention: Part = None
    parameters: Part = None


class ChangeTraining(_Changes):
    """A JSON merge patch (RFC 7396) of what a training was created with.

    Fields that are left out stay as they are, also within objects. A field that is null gets its default.
    """

    model_config = {
        "json_schema_extra": {
            "examples": [
                {
                    "max_rounds": 200,
                    "round_policy": {"deadline_seconds": 120},
                    "hyperparameters": {"learning_rate": 0.05},
                }
            ]
        }
    }

    @model_validator(mode="before")
    @classmethod
    def _refuse_fixed(cls, given: Any) -> Any:
        return _without(cls, given, "cannot change once a training was created: create another one that starts from it")

    def applied_to(self, training: TrainingOut) -> CreateTraining:
        """Return the body that would create the changed training. Raises pydantic's `ValidationError`."""
        return changed_body(training, {name: getattr(self, name) for name in self.model_fields_set})


class ExtendTraining(RequestModel):
    """More rounds for a training that has ended. Its goal may be changed by a JSON merge patch, as in `PATCH`."""

    model_config = {"json_schema_extra": {"examples": [{"rounds": 20}]}}

    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS, description="How many rounds it may run in addition")]
    target_accuracy: Annotated[float | None, Field(description="Short for the target of a goal on accuracy")] = None
    goal: Part = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_fixed(cls, given: Any) -> Any:
        return _without(cls, given, "cannot change with an extension: only goal and target_accuracy can")

    def applied_to(self, training: TrainingOut) -> CreateTraining:
        """Return the body that would create the extended training. Raises pydantic's `ValidationError`."""
        most = training.current_round + self.rounds
        if most > MOST_ROUNDS:
            raise wrong_fields([(("rounds",), f"should be at most {MOST_ROUNDS - training.current_round}")])
        given = {name: getattr(self, name) for name in self.model_fields_set - {"rounds"}}
        return changed_body(training, given | {"max_rounds": most})


class StartIn(RequestModel):
    """The model version of another training that a new one starts from."""

    training: TrainingId
    round: Annotated[
        int | None, Field(ge=0, lt=2**31, description="The round that made the version; the newest if absent")
    ] = None
    optimiser: Annotated[bool, Field(description="Whether the state of the server optimiser is taken over, too")] = (
        False
    )


class ForkTraining(_Changes):
    """A training that starts from a model version of another one.

    It has the configuration of that training, with the changes of this JSON merge patch (RFC 7396).
    """

    model_config = {
        "serialize_by_alias": True,
        "validate_by_name": True,
        "json_schema_extra": {
            "examples": [
                {
                    "from": {"training": "3f0c2a9d5b7e4c11", "round": 20, "optimiser": True},
                    "name": "digits, slower",
                    "max_rounds": 100,
                    "hyperparameters": {"learning_rate": 0.05},
                }
            ]
        },
    }

    from_: Annotated[StartIn, Field(alias="from")]
    max_rounds: Annotated[int | None, Field(description="Counted from the first round of the other training")] = None
    aggregation: str | None = None
    topology: str | None = None
    seed: int | None = None
    statistics: list[str] | None = None

    def applied_to(self, training: TrainingOut) -> CreateTraining:
        """Return the body that would create the new training. Raises pydantic's `ValidationError`."""
        return changed_body(training, {name: getattr(self, name) for name in self.model_fields_set - {"from_"}})


def _either(given: Any) -> Any:
    """Check a body by what it asks for. A union would also report why it does not ask for the other."""
    if isinstance(given, CreateTraining | ForkTraining):
        return given
    return (ForkTraining if isinstance(given, dict) and "from" in given else CreateTraining).model_validate(given)


NewTraining = Annotated[
    CreateTraining | ForkTraining, PlainValidator(_either, json_schema_input_type=CreateTraining | ForkTraining)
]


def changed_body(training: TrainingOut, changes: dict[str, Any]) -> CreateTraining:
    """Return the body that would create a training like this one with changes, which are a JSON merge patch.

    Raises pydantic's `ValidationError`.
    """
    known = training.model_dump(mode="json", include={*CreateTraining.model_fields} - SHORT)
    if "target_accuracy" in changes and "goal" not in changes:
        target = changes["target_accuracy"]
        goal = None if target is None else {"metric": ACCURACY, "mode": "max", "target": target}
        changes = {name: entry for name, entry in changes.items() if name != "target_accuracy"} | {"goal": goal}
    return CreateTraining.model_validate_json(json.dumps(_merged(known, changes)))


SHORT = frozenset({"target_accuracy", "statistics"})  # spellings of other fields
SCHEDULED = {"hyperparameters", "round_policy"}
"""The objects whose fields may be schedules."""


def _merged(known: Any, patch: Any, place: tuple[str, ...] = ()) -> Any:
    """Apply a JSON merge patch. A schedule is merged only with one of the same kind, and replaces any other value."""
    if not isinstance(patch, dict):
        return patch
    found = dict(known) if isinstance(known, dict) else {}
    is_schedule = len(place) == len(("hyperparameters", "learning_rate")) and place[0] in SCHEDULED
    if is_schedule and found.get("schedule") != patch.get("schedule", found.get("schedule")):
        found = {}
    for name, new in patch.items():
        if new is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), new, (*place, name))
    return found
