"""How slow the other side of a transfer may be."""

from collections.abc import Mapping
from typing import Any

EXTENSION = "tcsfeel.answer_rate"


class Pace:
    """The time for which a transfer may still wait for its other side.

    It begins with `seconds`. Waiting spends it, and each byte that comes earns 1 / `rate` seconds, but there is never
    more than at the beginning. So whatever came before, the other side may pause for `seconds` at most, and a transfer
    of n bytes waits for `seconds` + n / `rate` at most.
    """

    def __init__(self, seconds: float, rate: float) -> None:
        self._seconds = seconds
        self._rate = rate
        self.left = seconds

    def __str__(self) -> str:
        return f"may pause for {self._seconds:g} s, and must then send at least {self._rate:g} bytes a second"

    def spend(self, waited: float, size: int) -> None:
        """Take note that so many bytes came after so many seconds."""
        self.left = min(self._seconds, self.left - waited + size / self._rate)

    def renew(self, rate: float) -> None:
        """Begin again, for another transfer."""
        self._rate = rate
        self.left = self._seconds


def hurry(scope: Mapping[str, Any], rate: float) -> None:
    """Give up the caller of a request unless it takes in so many bytes of its answer a second.

    Another server's connections are left alone.
    """
    renew = scope.get("extensions", {}).get(EXTENSION)
    if renew is not None:
        renew(rate)
