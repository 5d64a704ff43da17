"""Which process runs on which core: the server has one of its own, as where attackers come from other machines.

The harness, the quiet fleet, Postgres and the attackers share the other cores, the attackers with the least right to
them. So what attackers cost themselves is not taken for what they cost the server.
"""

import os

NICE = 19  # of attackers


def set_apart() -> int | None:
    """Leave one core to servers, and give it; None where this machine cannot do that.

    This process, and what it starts, keeps off that core.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        return None
    os.sched_setaffinity(0, others)
    return first


def beginning(core: int | None) -> str:
    """Python that puts its own process on a core."""
    return "" if core is None else f"import os; os.sched_setaffinity(0, {{{core}}}); "


def load() -> float:
    """How many processes of this machine wanted to run in the last minute: what the figures are to be judged by."""
    return os.getloadavg()[0]
