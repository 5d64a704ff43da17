"""How often a caller may call: the rate that it gets at one server, and whether its next call may pass.

A caller's calls are counted by the time that they use up (the generic cell rate algorithm): at a rate of r, each call
uses 1/r seconds. A caller may be ahead of the present by `BURST_SECONDS`, so after a pause it may send the calls of
this time at once.
"""

BURST_SECONDS = 10.0
_ROUNDING = 1e-6  # seconds, of which sums of many floats may be wrong


def used_up_after(used_up: float, now: float, rate: float) -> float:
    """Return until when a caller has used up its calls after one more at `now`, at a rate in calls a second."""
    return max(used_up, now) + 1 / rate


def wait(used_up: float, now: float) -> float:
    """Return the seconds after which a call may pass that uses the calls up until `used_up`; 0 if it may pass now."""
    seconds = used_up - now - BURST_SECONDS
    return seconds if seconds > _ROUNDING else 0.0


def share(limit: float, here: float, elsewhere: float) -> float:
    """Return the rate that one server allows a caller, so that all servers together allow about `limit`.

    It is never less than one call in `BURST_SECONDS`: with less, no call could ever pass.

    Args:
        limit: the calls a second that the caller may send to all servers together.
        here: the calls a second that it sends to this server, refused ones too.
        elsewhere: the same, for all other servers together.
    """
    if here + elsewhere <= limit:
        return limit - elsewhere
    return max(limit * here / (here + elsewhere), 1 / BURST_SECONDS)
