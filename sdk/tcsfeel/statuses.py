"""Name the statuses of trainings that every part of the library has to tell apart."""

STOPPED = frozenset({"completed", "cancelled", "failed"})
"""The statuses in which a training does nothing more, unless a user resumes it."""
