"""``/v1/clients/{id}/tasks``: agents that pull ask for their tasks, and deliver their results."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response, status
from fastapi.responses import StreamingResponse

from app.domain.mailbox import MOST_KNOWN
from app.http.bodies import UnsupportedMediaType
from app.http.deps import AppClients, AppDeliveries, AppPulls, Departure
from app.http.descriptions import PROBLEM, responses, with_headers
from app.http.roles import Needs
from app.http.routes import CODINGS, STREAMED, ApiRoute
from app.routers.clients import Id
from app.services.tasks.bodies import Sent
from app.services.tasks.pulls import Taken
from app.turns import Turns
from tcsfeel.contract.clients import AgentInstance
from tcsfeel.contract.fields import TASK_ID_PATTERN
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.compression import IDENTITY, ZSTD
from tcsfeel.wire.signatures import ACCEPT_SIGNATURE

router = APIRouter(prefix="/v1/clients/{client_id}/tasks", tags=["tasks"], route_class=ApiRoute)

TASK = "Tcsfeel-Task"
UNWANTED = "Tcsfeel-Unwanted"
MOST_WAIT = 60.0  # seconds

_turns = Turns()
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_RESULT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            MEDIA_TYPE: _BINARY,
            PROBLEM: {
                "schema": {"type": "object"},
                "example": {"title": "The trainer failed", "status": 500, "detail": "the data file is missing"},
            },
        },
    }
} | {**STREAMED, CODINGS: [ZSTD]}
_TASK = {200: {"content": {MEDIA_TYPE: _BINARY}, "description": "The task: the parameters, and what to do with them"}}
_NOTHING = {204: {"description": "There is no task; `Retry-After` says when to ask again"}}

Known = Annotated[
    list[Annotated[str, Query(pattern=TASK_ID_PATTERN)]],
    Query(max_length=MOST_KNOWN, description="A task that the agent has, and that is not sent again"),
]
TaskId = Annotated[
    str, Path(pattern=TASK_ID_PATTERN, examples=["3f0c2a9d5b7e4c11.1.edge-7.fit"], description="The task's id")
]


@router.get(
    "/next",
    openapi_extra=Needs.own_client,
    response_class=Response,
    responses=responses(
        404,
        also={
            200: _TASK[200]
            | with_headers(**{TASK: "The task's id", "Content-Digest": "The SHA-256 of the body (RFC 9530)"}),
            204: _NOTHING[204]
            | with_headers(**{"Retry-After": "Seconds", UNWANTED: "Known tasks that are no longer wanted"}),
        },
    ),
)
async def next_task(
    *,
    client_id: Id,
    clients: AppClients,
    pulls: AppPulls,
    departure: Departure,
    wait: Annotated[
        float, Query(ge=0, le=MOST_WAIT, description="For how many seconds to wait for a task", examples=[30])
    ] = 0.0,
    known: Known = [],  # noqa: B006  (FastAPI copies defaults)
    instance: Annotated[AgentInstance | None, Query()] = None,
    accept_signature: Annotated[
        str, Header(alias=ACCEPT_SIGNATURE, max_length=300, description="How the task should be signed (RFC 9421)")
    ] = "",
) -> Response:
    """Ask for the next task of a client whose agent pulls. The question is a sign of life, as a heartbeat is."""
    await clients.heartbeat(client_id, bandwidth=None, latency=None, instance=instance)
    found = await pulls.next(client_id, known, wait, departure, signature=accept_signature)
    if isinstance(found, Taken):
        headers = {**found.headers, TASK: found.task.id, "Content-Length": str(len(found.body))}
        if found.task.accept != IDENTITY:
            headers["Accept-Encoding"] = found.task.accept
        return StreamingResponse(_pieces(found), headers=headers, media_type=MEDIA_TYPE)
    headers = {"Retry-After": str(found.retry_after)}
    if found.unwanted:
        headers[UNWANTED] = ", ".join(found.unwanted)
    return Response(status_code=status.HTTP_204_NO_CONTENT, headers=headers)


@router.put(
    "/{task_id}/result",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=Needs.own_client | _RESULT,
    responses=responses(400, 404, 409, 410, 413, 415, 507),
)
async def put_result(client_id: Id, task_id: TaskId, request: Request, deliveries: AppDeliveries) -> None:
    """Deliver the result of a task, or a problem document that says why the agent has none."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in {MEDIA_TYPE, PROBLEM}:
        raise UnsupportedMediaType(MEDIA_TYPE, PROBLEM)
    await deliveries.take(client_id, task_id, request.headers, request.stream(), failed=kind == PROBLEM)


async def _pieces(taken: Taken) -> AsyncIterator[bytes]:
    async for piece in Sent(taken.body, _turns):
        yield bytes(piece)
