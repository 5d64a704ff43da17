"""Who acts, and in which request: what the log of events tells of the origin of each change.

Both are in the context of a task, as the fields of the log lines are, and every task that is started inside `acting`
inherits them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, replace

ADMIN_KEY = "admin key"  # a caller that sent the admin key
AGENT = "agent"  # an agent that registers, or gives a sign of life
LOCAL = "local caller"  # a caller on the server's machine, where no key is asked for
SERVER = "server"  # where no server has told its own name


@dataclass(frozen=True, slots=True)
class Origin:
    """The actor, which is a text for people, and the id of the request that it sent."""

    actor: str = SERVER
    request_id: str | None = None


NOT_TOLD = Origin()

_origin: ContextVar[Origin] = ContextVar("origin", default=NOT_TOLD)


def current_origin() -> Origin:
    """Return the origin of what the caller does."""
    return _origin.get()


@contextmanager
def acting(actor: str | None = None, *, request_id: str | None = None) -> Iterator[None]:
    """Let everything inside come from an actor, or from a request; what is None stays as it is."""
    known = _origin.get()
    token = _origin.set(replace(known, actor=actor or known.actor, request_id=request_id or known.request_id))
    try:
        yield
    finally:
        _origin.reset(token)


def context_of(actor: str) -> Context:
    """Return a context for a task whose changes come from an actor, and from no request."""
    context = copy_context()
    context.run(_origin.set, Origin(actor))
    return context
