"""Divide the attackers into shifts, of which one attacks at a time.

There are far more kinds of them than have to attack at once. Each shift has every n-th agent and every n-th kind of
caller, so all kinds attack in a run with at least as many attacks as shifts.
"""

from tests.harnesses.hostile.agents import ALL, REVOKED, SIGNED
from tests.harnesses.hostile.kinds import CALLERS

_ALWAYS = {SIGNED[0].name, REVOKED.name}
"""Devices whose keys hostile callers show."""


def agents_of(number: int, shifts: int) -> list[str]:
    """Return the names of the agents that are hostile in an attack, the first of which has the number 0."""
    return [name for place, name in enumerate(ALL) if (place - number) % shifts == 0 or name in _ALWAYS]


def callers_of(number: int, shifts: int, names: str) -> list[str]:
    """Return which callers of `names` (with commas between them, or ``all``) attack in an attack."""
    wanted = [name for name in CALLERS if names == "all" or name in names.split(",")]
    return [name for place, name in enumerate(wanted) if (place - number) % shifts == 0]
