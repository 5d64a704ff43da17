"""Read the fields of a server's answers for the commands, which work without the extra `client` and its models.

The text of a field is escaped, since a server may send control characters that forge lines or steer the terminal.
"""

import math
from typing import Any, NoReturn

from tcsfeel.cli.ending import fail
from tcsfeel.text import escaped

LARGEST = 2**63  # of a whole number


class Fields:
    """The fields of an object in an answer. If a field is missing or has another type, the command ends.

    Args:
        value: what the server sent.
        name: names the object in messages.
    """

    def __init__(self, value: Any, name: str) -> None:
        if not isinstance(value, dict):
            wrong(name, "an object")
        self.value: dict[str, Any] = value
        self._name = name

    def text(self, field: str) -> str:
        """Return a text, in a form that can be printed."""
        return escaped(self._checked(field, str, "a text"))

    def id(self, field: str) -> str:
        """Return an id as it is, to be put into a path."""
        found: str = self._checked(field, str, "a text")
        return found

    def whole(self, field: str) -> int:
        """Return a whole number."""
        found: int = self._checked(field, int, "a whole number")
        return found if -LARGEST < found < LARGEST else wrong(f"{self._name}.{field}", "a smaller number")

    def number(self, field: str) -> float:
        """Return a finite number."""
        try:
            found = float(self._checked(field, int | float, "a number"))
        except OverflowError:
            found = math.inf
        return found if math.isfinite(found) else wrong(f"{self._name}.{field}", "a finite number")

    def items(self, field: str) -> list[Any]:
        """Return a list, whose items are not checked."""
        found: list[Any] = self._checked(field, list, "a list")
        return found

    def part(self, field: str) -> "Fields":
        """Return an object inside this one."""
        return Fields(self._checked(field, dict, "an object"), f"{self._name}.{field}")

    def has(self, field: str) -> bool:
        """Tell whether a field is there and is not null."""
        return self.value.get(field) is not None

    def _checked(self, field: str, kind: Any, described: str) -> Any:
        found = self.value.get(field)
        if not isinstance(found, kind) or isinstance(found, bool):
            wrong(f"{self._name}.{field}", described)
        return found


def wrong(place: str, described: str) -> NoReturn:
    """End the command because an answer does not follow the REST API."""
    fail(f"the server's answer is not what was expected: {place} should be {described}")
