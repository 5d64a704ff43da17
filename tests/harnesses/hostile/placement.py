"""Place processes on cores. The server has a core of its own, as if the attackers came from other machines.

The harness, the quiet fleet, Postgres and the attackers share the other cores, where attackers have the lowest
priority. So the cost of running the attackers does not count as the cost of their attacks. A server that is attacked
there has a low priority, too: it must not slow down the devices of the quiet fleet, which are machines of their own
in a real deployment.
"""

import os

NICE = 19  # of attackers
BESIDE = 10  # of a server that shares the cores of devices


def set_apart() -> int | None:
    """Reserve a core for servers and return its number; None if this machine cannot do that.

    This process, and all processes that it starts, do not use that core.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        return None
    os.sched_setaffinity(0, others)
    return first


def take(core: int | None, *, nice: int = 0) -> None:
    """Put this process on a core, if there is one for it, and lower its priority."""
    os.nice(nice)
    if core is not None:
        os.sched_setaffinity(0, {core})


def load() -> float:
    """Return how many processes of this machine wanted to run in the last minute, on which all figures depend."""
    return os.getloadavg()[0]
