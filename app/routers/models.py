"""``/v1/trainings/{id}/model`` and ``/models``: a training's parameters as safetensors files, and their history."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response, status
from fastapi.responses import FileResponse

from app.http.answers import listed_model
from app.http.deps import AnswerPlace, AppModels
from app.http.descriptions import responses, with_headers
from app.http.pages import Cursor, Limit, decode_cursor, page_of
from app.http.roles import Needs
from app.http.routes import STREAMED, ApiRoute
from app.http.writing import written
from app.routers.preconditions import IfNoneMatch, PartOfFile, is_current
from app.routers.trainings import Id
from app.store.models import MeasuredVersion
from tcsfeel.contract.models import ListedModelOut, ModelVersionOut
from tcsfeel.contract.pages import Page
from tcsfeel.wire.codec import MEDIA_TYPE

router = APIRouter(prefix="/v1/trainings/{training_id}", tags=["models"], route_class=ApiRoute)

_BINARY = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_ETAG = with_headers(ETag="The SHA-256 of the parameters, in quotes")
_Round = Annotated[
    int, Path(ge=0, lt=2**31, examples=[0], description="The round that made the version; 0 for the initial one")
]
_UPLOAD: dict[str, Any] = {"requestBody": {"required": True, "content": _BINARY}} | STREAMED


@router.put(
    "/model", openapi_extra=Needs.operator | _UPLOAD, responses=responses(404, 409, 413, 415, 507, also={200: _ETAG})
)
async def upload_model(training_id: Id, request: Request, models: AppModels, response: Response) -> ModelVersionOut:
    """Upload the initial parameters of a training. Without an upload, a selected client provides them.

    The body is a file: `curl -T model.safetensors -H "Authorization: Bearer $KEY" $SERVER/v1/trainings/$ID/model`.
    """
    version = await models.upload(training_id, request.stream())
    response.headers["ETag"] = f'"{version.sha256}"'
    return ModelVersionOut.of(version)


@router.get(
    "/model",
    openapi_extra=Needs.viewer,
    response_class=FileResponse,
    responses=responses(
        404,
        410,
        416,
        also={
            200: {"content": _BINARY, "description": "The parameters"} | _ETAG,
            206: {"content": _BINARY, "description": "The requested `Range` of the parameters"} | _ETAG,
            304: {"description": "The version is still the one in `If-None-Match`"} | _ETAG,
        },
    ),
)
async def download_model(
    training_id: Id,
    models: AppModels,
    number: Annotated[
        int | None,
        Query(alias="round", ge=0, lt=2**31, description="The round that made the version; 0 for the initial one"),
    ] = None,
    if_none_match: IfNoneMatch = "",
    wanted: Annotated[  # `PartOfFile` reads it from the request
        str | None, Header(alias="Range", description="The bytes to download, such as `bytes=0-1023`")
    ] = None,
) -> Response:
    """Download the newest parameters, or those that a round made."""
    stored = await models.get(training_id, number)
    del wanted
    headers = {"ETag": f'"{stored.version.sha256}"'}
    if is_current(if_none_match, headers["ETag"]):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    name = f"{training_id}-round-{stored.version.round}.safetensors"
    return PartOfFile(stored.path, size=stored.version.size, headers=headers, media_type=MEDIA_TYPE, filename=name)


@router.get("/models", openapi_extra=Needs.viewer, response_model=Page[ListedModelOut], responses=responses(404))
async def list_models(
    training_id: Id, models: AppModels, place: AnswerPlace, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """List a training's model versions, newest first, including those that were removed."""
    before = decode_cursor(cursor, int)
    async with place:
        found = await models.page(training_id, limit=limit, before=before[0] if before else None)
        return await written(lambda: page_of(found, listed_model, _key))


def _key(listed: MeasuredVersion) -> tuple[int]:
    return (listed.version.round,)


@router.put(
    "/models/{number}/pin",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_204_NO_CONTENT,
    responses=responses(404, 410),
)
async def pin_model(training_id: Id, number: _Round, models: AppModels) -> None:
    """Keep a model version, whatever the training's `retention` says."""
    await models.pin(training_id, number)


@router.delete(
    "/models/{number}/pin",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_204_NO_CONTENT,
    responses=responses(404),
)
async def unpin_model(training_id: Id, number: _Round, models: AppModels) -> None:
    """Let the training's `retention` decide about a model version again."""
    await models.unpin(training_id, number)
