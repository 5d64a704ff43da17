"""Handle times that were recorded before the clock was set back, and that now lie in the future.

Every period is stored with its begin, so that one rule is enough: a period that begins in the future has not begun, and
its end is ignored. A clock that was set forward cannot be told apart from time that has passed.
"""

TOLERANCE_SECONDS = 1.0
"""By how much the clocks of processes that follow the database's may differ."""


def lies_ahead(began: float | None, now: float) -> bool:
    """Whether something that is said to have begun at `began` cannot have: that is still to come."""
    return began is not None and began > now + TOLERANCE_SECONDS
