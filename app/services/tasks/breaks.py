"""How calls of agents break, and what is said of it."""

import errno

from app.services.access.tokens import LockedToken
from app.services.tasks.patience import TooSlow

CLOSED = "the agent closed the connection before it answered"
CUT = "the agent closed the connection in the middle of its answer"
NOT_HTTP = "the agent did not answer in HTTP"
UNREACHABLE = "the agent could not be reached"

_SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


class Broken(Exception):
    """An exchange failed at the agent's end. The message is the reason."""


# How a call breaks at the agent's end. Other errors of the operating system are ours: a disk that is full, for example.
BROKEN = (Broken, ConnectionError, TimeoutError)


def is_ours(error: BaseException) -> bool:
    """Tell whether a connection failed because this machine ran out of something, which is not the agent's fault."""
    return isinstance(error, OSError) and error.errno in _SHORT


def describe(error: BaseException) -> str:
    """Say what happened in a few words, without an URL's credentials."""
    if isinstance(error, Broken | TooSlow | LockedToken):
        return str(error)
    if isinstance(error, TimeoutError):
        return "the agent did not answer in time"
    if isinstance(error, ValueError):
        return "its URL cannot be called"
    return f"the connection was lost ({type(error).__name__})"
