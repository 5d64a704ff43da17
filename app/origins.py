"""The origin of each change for the log of events: who acts, and in which request.

Both are in the context of a task, as the fields of the log lines are, and every task that is started inside `acting`
inherits them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass

ADMIN_KEY = "admin key"  # a caller that sent the admin key
AGENT = "agent"  # an agent that registers, or gives a sign of life
LOCAL = "local caller"  # a caller on the server's machine, where no key is asked for
SERVER = "server"  # if the server has not set its name
ACTORS = frozenset({ADMIN_KEY, AGENT, LOCAL, SERVER})


@dataclass(frozen=True, slots=True)
class Origin:
    """The actor, which is a text for people, and the id of the request that it sent."""

    actor: str = SERVER
    request_id: str | None = None


NOT_TOLD = Origin()

_origin: ContextVar[Origin] = ContextVar("origin", default=NOT_TOLD)


def current_origin() -> Origin:
    """Return the origin of the present task's changes."""
    return _origin.get()


@contextmanager
def acting(actor: str | None = None, *, request_id: str | None = None) -> Iterator[None]:
    """Set the actor or the request of the changes in the block. A part that is None stays as it is."""
    known = _origin.get()
    token = _origin.set(Origin(actor or known.actor, request_id or known.request_id))
    try:
        yield
    finally:
        _origin.reset(token)


def context_of(actor: str) -> Context:
    """Return a context for a task whose changes come from an actor, and from no request."""
    context = copy_context()
    context.run(_origin.set, Origin(actor))
    return context
