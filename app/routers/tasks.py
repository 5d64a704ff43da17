"""``/v1/clients/{id}/tasks``: agents that pull ask for their tasks, and deliver their results."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response, status
from fastapi.responses import StreamingResponse

from app.domain.mailbox import MOST_KNOWN
from app.http.bodies import UnsupportedMediaType
from app.http.deps import AppAppends, AppClients, AppDeliveries, AppPulls, Departure
from app.http.descriptions import PROBLEM, Responses, responses, with_headers
from app.http.moving import Transfer, until_hung_up
from app.http.ranges import wanted_part
from app.http.roles import Needs
from app.http.routes import CODINGS, STREAMED, ApiRoute
from app.routers.clients import Id
from app.services.tasks.appends import Progress
from app.services.tasks.bodies import Sent
from app.services.tasks.pulls import Taken
from app.traces import TRACEPARENT
from app.turns import Turns
from tcsfeel.contract.clients import AgentInstance
from tcsfeel.contract.fields import TASK_ID_PATTERN
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.compression import IDENTITY, ZSTD
from tcsfeel.wire.resuming import NO, PARTIAL_UPLOAD, UPLOAD_COMPLETE, UPLOAD_LIMIT, UPLOAD_OFFSET, YES
from tcsfeel.wire.signatures import ACCEPT_SIGNATURE
from tcsfeel.wire.tasks import BY_URL

router = APIRouter(prefix="/v1/clients/{client_id}/tasks", tags=["tasks"], route_class=ApiRoute)

TASK = "Tcsfeel-Task"
UNWANTED = "Tcsfeel-Unwanted"
MOST_WAIT = 60.0  # seconds
PIECE_BYTES = 1 << 16  # of a task in one piece: a slow link takes one every second, which shows that the task moves

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
_PART: dict[str, Any] = {"requestBody": {"required": True, "content": {PARTIAL_UPLOAD: _BINARY}}} | {
    **STREAMED,
    CODINGS: [ZSTD],
}
_HOW_FAR = with_headers(
    **{
        UPLOAD_OFFSET: "How many bytes of the result are here",
        UPLOAD_COMPLETE: "`?1` if the task has its result, else `?0`",
        UPLOAD_LIMIT: "`max-size`, the most bytes that the result may have",
    }
)
_TASK: Responses = {
    200: {"content": {MEDIA_TYPE: _BINARY}, "description": "The task: the parameters, and what to do with them"}
}
_REST: Responses = {206: {"content": {MEDIA_TYPE: _BINARY}, "description": "The bytes of the task that were asked for"}}
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
            | with_headers(
                **{
                    TASK: "The task's id",
                    "Content-Digest": "The SHA-256 of the body (RFC 9530)",
                    TRACEPARENT: "The step of the round's trace that has offered the task, if it is traced",
                }
            ),
            204: _NOTHING[204]
            | with_headers(**{"Retry-After": "Seconds", UNWANTED: "Known tasks that are no longer wanted"}),
        },
    ),
)
async def next_task(
    *,
    client_id: Id,
    clients: AppClients,
    deliveries: AppDeliveries,
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
    by_url: Annotated[
        str,
        Header(
            alias=BY_URL,
            max_length=300,
            description="`?1` if the agent fetches parameters by URL, `?0` and a `reason` if it could not",
        ),
    ] = "",
) -> Response:
    """Ask for the next task of a client whose agent pulls. The question is a sign of life, as a heartbeat is."""
    await clients.heartbeat(client_id, bandwidth=None, latency=None, instance=instance)
    found = await pulls.next(client_id, known, wait, departure, signature=accept_signature, by_url=by_url)
    if isinstance(found, Taken):
        headers = {**found.headers, TASK: found.task.id}
        if found.task.accept != IDENTITY:
            headers["Accept-Encoding"] = found.task.accept
        return _sent(found, Transfer(clients, deliveries, client_id, found.task.id), headers)
    headers = {"Retry-After": str(found.retry_after)}
    if found.unwanted:
        headers[UNWANTED] = ", ".join(found.unwanted)
    return Response(status_code=status.HTTP_204_NO_CONTENT, headers=headers)


@router.get(
    "/{task_id}",
    openapi_extra=Needs.own_client,
    response_class=Response,
    responses=responses(404, 409, 410, 412, 416, also=_TASK | _REST),
)
async def get_task(
    *,
    client_id: Id,
    task_id: TaskId,
    clients: AppClients,
    deliveries: AppDeliveries,
    pulls: AppPulls,
    wanted: Annotated[
        str, Header(alias="Range", max_length=100, description="The bytes that are missing, such as `bytes=1048576-`")
    ] = "",
    if_range: Annotated[
        str, Header(alias="If-Range", max_length=200, description="The `ETag` of the bytes that are there")
    ] = "",
    if_match: Annotated[
        str, Header(alias="If-Match", max_length=1024, description="As `If-Range`, but another version is refused")
    ] = "",
) -> Response:
    """Download the body of a task that broke off, or the rest of it: the bytes that its agent was sent last."""
    await clients.heartbeat(client_id, bandwidth=None, latency=None)
    found = await pulls.again(client_id, task_id)
    part = wanted_part(len(found.body), found.headers["ETag"], wanted=wanted, if_range=if_range, if_match=if_match)
    transfer = Transfer(clients, deliveries, client_id, task_id)
    return _sent(found, transfer, {**found.headers, TASK: found.task.id}, part)


@router.put(
    "/{task_id}/result",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=Needs.own_client | _RESULT,
    responses=responses(400, 404, 409, 410, 413, 415, 507),
)
async def put_result(
    *,
    client_id: Id,
    task_id: TaskId,
    request: Request,
    clients: AppClients,
    deliveries: AppDeliveries,
    by_url: Annotated[
        str,
        Header(alias=BY_URL, max_length=300, description="`?1`, without a body, if the result is where the task said"),
    ] = "",
) -> None:
    """Deliver the result of a task, or a problem document that says why the agent has none."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in {MEDIA_TYPE, PROBLEM}:
        raise UnsupportedMediaType(MEDIA_TYPE, PROBLEM)
    body = Transfer(clients, deliveries, client_id, task_id).of(until_hung_up(request))
    if by_url == YES and kind == MEDIA_TYPE:
        await deliveries.take_uploaded(client_id, task_id, request.headers)
    else:
        await deliveries.take(client_id, task_id, request.headers, body, failed=kind == PROBLEM)


@router.head(
    "/{task_id}/result",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=Needs.own_client,
    responses=responses(404, 410, also={204: {"description": "How far the result has come in", **_HOW_FAR}}),
)
async def result_progress(client_id: Id, task_id: TaskId, clients: AppClients, appends: AppAppends) -> Response:
    """Ask how many bytes of a result have arrived. A call that still appends to it is ended."""
    await clients.heartbeat(client_id, bandwidth=None, latency=None)
    return _progress(await appends.progress(client_id, task_id))


@router.patch(
    "/{task_id}/result",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=Needs.own_client | _PART,
    responses=responses(
        400, 404, 409, 410, 413, 415, 507, also={204: {"description": "The part is stored", **_HOW_FAR}}
    ),
)
async def append_result(
    *,
    client_id: Id,
    task_id: TaskId,
    request: Request,
    clients: AppClients,
    deliveries: AppDeliveries,
    appends: AppAppends,
    upload_offset: Annotated[
        int,
        Header(
            alias=UPLOAD_OFFSET, ge=0, lt=2**50, description="How many bytes of the result come before", examples=[0]
        ),
    ],
    upload_complete: Annotated[
        Literal["?0", "?1"],
        Header(alias=UPLOAD_COMPLETE, description="`?1` if these are the last bytes, else `?0`", examples=["?0"]),
    ],
) -> Response:
    """Append bytes to the result of a task. What has arrived stays, also if the call breaks off."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != PARTIAL_UPLOAD:
        raise UnsupportedMediaType(PARTIAL_UPLOAD)
    body = Transfer(clients, deliveries, client_id, task_id).of(until_hung_up(request))
    done = await appends.append(
        client_id, task_id, request.headers, body, offset=upload_offset, complete=upload_complete == YES
    )
    return _progress(done)


def _sent(
    taken: Taken, transfer: Transfer, headers: Mapping[str, str], part: tuple[int, int] | None = None
) -> StreamingResponse:
    """Send the body of a task, or a part of it. Each piece that the agent has taken is a sign of life."""
    begins, ends = part or (0, len(taken.body))
    said = {**headers, "Content-Length": str(ends - begins)}
    code = status.HTTP_200_OK
    if part is not None:
        code = status.HTTP_206_PARTIAL_CONTENT
        said["Content-Range"] = f"bytes {begins}-{ends - 1}/{len(taken.body)}"
    pieces = transfer.of(_pieces(taken, begins, ends))
    return StreamingResponse(pieces, status_code=code, headers=said, media_type=MEDIA_TYPE)


async def _pieces(taken: Taken, begins: int, ends: int) -> AsyncIterator[bytes]:
    async for piece in Sent(taken.body, _turns, begins, ends):
        for start in range(0, len(piece), PIECE_BYTES):
            yield bytes(piece[start : start + PIECE_BYTES])


def _progress(found: Progress) -> Response:
    """Say how far a result has come in."""
    headers = {
        UPLOAD_OFFSET: str(found.offset),
        UPLOAD_COMPLETE: YES if found.complete else NO,
        UPLOAD_LIMIT: f"max-size={found.most}",
        "Cache-Control": "no-store",
    }
    return Response(status_code=status.HTTP_204_NO_CONTENT, headers=headers)
