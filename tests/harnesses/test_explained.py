"""Models are explained by their members, and those that are not are found."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain.rounds import Participation, Round
from app.domain.trainings import RoundPolicy, TrainingConfig
from tcsfeel.selection.types import Plan
from tcsfeel.wire.codec import Parameters, encode
from tests.harnesses.explained import Absence, not_counted, unexplained
from tests.harnesses.fleet import examples_of, trained
from tests.harnesses.history import History, Story
from tests.store.samples import a_round, training

NUMBERS = {"a": 0, "b": 1, "c": 2}
FIRST: Parameters = {"w": np.ones(4, np.float32)}
DISCOUNT = 1 / np.sqrt(2)
CARRY = TrainingConfig(name="test", round_policy=RoundPolicy(stragglers="carry", max_staleness=3))


class Kept:
    """Models in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def keep(self, model: Parameters) -> str:
        """Store a model in float32, and return its name."""
        body = encode({name: values.astype(np.float32) for name, values in model.items()})
        name = hashlib.sha256(body).hexdigest()
        (self.directory / name).write_bytes(body)
        return name


def part(client_id: str, **fields: Any) -> Participation:
    return replace(
        Participation(client_id=client_id, status="received", num_examples=examples_of(NUMBERS[client_id])),
        **fields,
    )


def mean(updates: dict[str, Parameters], weights: dict[str, float]) -> Parameters:
    total = sum(weights.values())
    return {"w": np.sum([weights[one] / total * update["w"].astype(float) for one, update in updates.items()], axis=0)}


def completed(number: int, base: str, made: str, *parts: Participation, **fields: Any) -> Round:
    return a_round(number=number, status="completed", base_model=base, model=made, participations=parts, **fields)


def history(*rounds: Round, config: TrainingConfig = CARRY) -> History:
    story = Story(training(config=config), {one.number: one for one in rounds}, {}, Counter())
    return History({"t": story}, {}, {})


@pytest.mark.parametrize(
    ("counted", "problem"),
    [
        ({"a": 10 * DISCOUNT, "b": 11}, None),
        ({"a": 20 * DISCOUNT, "b": 11}, "t round 2: its model is not the mean of its 2 members"),
        ({"a": 10, "b": 11}, "t round 2: its model is not the mean of its 2 members"),
    ],
)
def test_a_carried_update_counts_once_by_its_age_and_from_its_own_base(
    counted: dict[str, float], problem: str | None, tmp_path: Path
) -> None:
    kept = Kept(tmp_path)
    first = kept.keep(FIRST)
    second = {"w": trained(FIRST, 2, 1)["w"]}
    name = kept.keep(second)
    late = {"w": second["w"] + (trained(FIRST, 0, 1)["w"] - FIRST["w"])}
    third = kept.keep(mean({"a": late, "b": trained(second, 1, 2)}, counted))
    share = 10 * DISCOUNT / (10 * DISCOUNT + 11)
    found = unexplained(
        history(
            completed(1, first, name, part("c"), part("a", status="carried", begun_in=1, carried_to=2)),
            completed(
                2, name, third, part("b", weight=1 - share),
                part("a", begun_in=1, base_model=first, staleness=1, weight=share),
            ),
        ),
        tmp_path,
        NUMBERS,
    )  # fmt: skip
    assert [one[: len(problem or one)] for one in found] == ([] if problem is None else [problem])


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ({"a": 10, "b": 11}, None),
        ({"a": 10, "b": 22}, "t round 1: its model is not the mean of its 2 members"),
    ],
)
def test_a_child_counts_once(weights: dict[str, float], problem: str | None, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    first = kept.keep(FIRST)
    made = kept.keep(mean({"a": trained(FIRST, 0, 1), "b": trained(FIRST, 1, 1)}, weights))
    plan = Plan(topology="relay", parents={"a": None, "b": "a"})
    round_ = completed(1, first, made, part("a"), part("b", relay="a"), plan=plan)
    found = unexplained(history(round_, config=TrainingConfig(name="test")), tmp_path, NUMBERS)
    assert [one[: len(problem or one)] for one in found] == ([] if problem is None else [problem])
    swapped = replace(round_, plan=replace(plan, parents={"a": None, "b": None}))
    assert unexplained(history(swapped), tmp_path, NUMBERS) == [
        "t round 1: b came through a, which brought nothing or is not its relay"
    ]


def test_a_task_counts_in_one_round_and_goes_on_where_it_says(tmp_path: Path) -> None:
    abandoned: dict[str, Any] = {"status": "abandoned", "base_model": "m"}
    first = a_round(**abandoned, participations=(part("a", status="carried", begun_in=1, carried_to=2), part("b")))
    second = a_round(number=2, **abandoned, participations=(part("a", begun_in=1, base_model="m"),))
    assert unexplained(history(first, second), tmp_path, NUMBERS) == []
    third = a_round(number=3, **abandoned, participations=(part("a", begun_in=1, base_model="m"),))
    assert unexplained(history(first, second, third), tmp_path, NUMBERS) == [
        "t: round 3: the task of a from round 1 was not carried into it",
        "t: the task of a from round 1 counts in rounds 2 and 3",
    ]
    assert unexplained(history(first), tmp_path, NUMBERS) == [
        "t: the task of a from round 1 was carried to round 2, which does not have it"
    ]


def test_only_an_agent_that_was_away_may_be_missing(tmp_path: Path) -> None:
    lost = a_round(status="abandoned", participations=(part("a", status="failed", finished_at=1_700_000_010.0),))
    found = history(lost, config=TrainingConfig(name="test"))
    assert unexplained(found, tmp_path, NUMBERS) == ["t round 1: a is failed, and its agent was there (None)"]
    assert unexplained(found, tmp_path, NUMBERS, [Absence("a", 1_700_000_005.0)]) == []
    assert unexplained(found, tmp_path, NUMBERS, [Absence("a", 1_700_000_011.0)]) != []
    assert unexplained(found, tmp_path, NUMBERS, [Absence("b", 1_700_000_005.0)]) != []


def test_a_task_that_was_trained_has_to_count() -> None:
    found = history(a_round(participations=(part("a", status="skipped", reason="for no reason"),)))
    assert not_counted(found, {"t.1.a.fit"}) == ["t round 1: a has trained, and is skipped (for no reason)"]
    assert not_counted(found, {"t.1.b.fit"}) == []
