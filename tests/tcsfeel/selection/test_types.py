"""The values of selection explain each of their fields."""

import dataclasses
import inspect
import re

import pytest

from tcsfeel import selection
from tcsfeel.selection.optimizer import ClientNode
from tcsfeel.selection.types import Plan, Selection, Skipped, nobody

VALUES = [one for one in vars(selection).values() if inspect.isclass(one) and dataclasses.is_dataclass(one)]


@pytest.mark.parametrize("kind", [*VALUES, ClientNode], ids=lambda kind: str(kind.__name__))
def test_each_field_is_explained(kind: type) -> None:
    attributes = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")[2].partition("\n\n")[0]
    explained = re.findall(r"^    (\w+): \S", attributes, re.MULTILINE)
    assert [field.name for field in dataclasses.fields(kind)] == explained


def test_a_selection_of_nobody_costs_nothing_and_keeps_all_reasons() -> None:
    skipped = [Skipped("a", "its breaker is open"), Skipped("b", "it is busy")]
    assert nobody("oort", skipped) == Selection(
        strategy="oort",
        selected=(),
        skipped=tuple(skipped),
        total_cost=0.0,
        label_divergence=None,
        fairness=1.0,
        expected_seconds=0.0,
        plan=Plan("star", {}),
    )
