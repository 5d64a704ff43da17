"""List all kinds of callers, each with an address of its own, by which the audit trail has to name it."""

from tests.harnesses.hostile.bombs import BOMBS
from tests.harnesses.hostile.callers import WITH_KEY, WITHOUT_KEY
from tests.harnesses.hostile.intruders import INTRUDERS
from tests.harnesses.hostile.sockets import Kind

CALLERS: dict[str, Kind] = {
    **{name: Kind(attack, connections) for name, (attack, connections) in (WITHOUT_KEY | WITH_KEY).items()},
    **BOMBS,
    **INTRUDERS,
}
NEIGHBOUR = "nothing-at-all"
"""Calls from the address of the operators, so that their connections are in its way."""


def address_of(name: str) -> str:
    """Return the address from which a kind calls."""
    return "127.0.0.1" if name == NEIGHBOUR else f"127.0.1.{list(CALLERS).index(name) + 1}"
