"""Limit how slow the other side of a transfer may be."""

from collections.abc import Mapping
from typing import Any

EXTENSION = "tcsfeel.answer_rate"


class Pace:
    """The time for which a transfer may still wait for its other side.

    It begins with `seconds`. Waiting reduces it, and each byte that comes adds 1 / `rate` seconds, up to the value at
    the beginning. So the other side may never pause for more than `seconds`, and a transfer of n bytes waits for at
    most `seconds` + n / `rate`.
    """

    def __init__(self, seconds: float, rate: float) -> None:
        self._seconds = seconds
        self._rate = rate
        self.left = seconds

    def __str__(self) -> str:
        return f"may pause for {self._seconds:g} s, and must then send at least {self._rate:g} bytes a second"

    def spend(self, waited: float, size: int) -> None:
        """Count `waited` seconds, and `size` bytes that came after them."""
        self.left = min(self._seconds, self.left - waited + size / self._rate)

    def renew(self, rate: float) -> None:
        """Begin again, for another transfer."""
        self._rate = rate
        self.left = self._seconds


def hurry(scope: Mapping[str, Any], rate: float) -> None:
    """Disconnect the caller of a request if it reads its answer more slowly than `rate` bytes a second.

    Does nothing under another server.
    """
    renew = scope.get("extensions", {}).get(EXTENSION)
    if renew is not None:
        renew(rate)
