"""The values of selection explain each of their fields."""

import dataclasses
import inspect
import re

import pytest

from tcsfeel import selection
from tcsfeel.selection.optimizer import ClientNode

VALUES = [one for one in vars(selection).values() if inspect.isclass(one) and dataclasses.is_dataclass(one)]


@pytest.mark.parametrize("kind", [*VALUES, ClientNode], ids=lambda kind: str(kind.__name__))
def test_each_field_is_explained(kind: type) -> None:
    attributes = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")[2].partition("\n\n")[0]
    explained = re.findall(r"^    (\w+): \S", attributes, re.MULTILINE)
    assert [field.name for field in dataclasses.fields(kind)] == explained
