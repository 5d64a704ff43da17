"""Let relays do what the control plane has granted them: hand over one task, and fetch its result."""

from http import HTTPStatus
from typing import Protocol

from tcsfeel.agent.asgi import Request
from tcsfeel.agent.relaying import Relaying
from tcsfeel.agent.replies import Problem
from tcsfeel.agent.signing import Signing
from tcsfeel.wire.digests import CONTENT_DIGEST, read_digest
from tcsfeel.wire.grants import GRACE_SECONDS, Grant


class Called(Protocol):
    """The agent that a relay calls."""

    token: str | None
    signing: Signing | None
    relaying: Relaying | None


def granted(request: Request, path: str, grant: Grant, agent: Called, now: float) -> str:
    """Return the id of the task that a relay may hand over or ask for. `now` is in unix seconds.

    Raises:
        Problem: 403, since the grant is not for this call, or the agent takes no part in relaying.
    """
    match request.method, path.split("/")[1:]:
        case (("PUT" | "GET"), ["tasks", task_id]) if task_id:
            pass
        case _:
            raise _refused("a relay may only PUT or GET the task that it was granted")
    if agent.relaying is None:
        raise _refused("the updates of this agent go to its control plane alone")
    if agent.signing is not None:
        fits = agent.signing.has_granted(grant, task_id)
    else:
        fits = agent.token is None or grant.is_by_token(agent.token, task_id)
    if not fits:
        raise _refused("the control plane of this agent has not granted this task to a relay")
    if grant.expires + GRACE_SECONDS < now:
        raise _refused("the grant of the relay has expired")
    digest = read_digest(request.header(CONTENT_DIGEST.lower())) if request.method == "PUT" else None
    if request.method == "PUT" and (digest is None or digest.hex() != grant.digest):
        raise _refused("the relay was granted a task with another body")
    return task_id


def _refused(detail: str) -> Problem:
    return Problem(HTTPStatus.FORBIDDEN, detail)
