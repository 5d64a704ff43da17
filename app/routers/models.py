"""``/v1/trainings/{id}/model``: a training's parameters as safetensors files."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response, status
from fastapi.responses import FileResponse

from app.deps import ApiRoute, AppModels
from app.problems import responses, with_headers
from app.routers.preconditions import IfNoneMatch, PartOfFile, is_current
from app.routers.trainings import Id
from app.schemas.models import ModelVersionOut
from app.wire.codec import MEDIA_TYPE

router = APIRouter(prefix="/v1/trainings/{training_id}/model", tags=["models"], route_class=ApiRoute)

_BINARY = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_ETAG = with_headers(ETag="The SHA-256 of the parameters, in quotes")
_UPLOAD: dict[str, Any] = {"requestBody": {"required": True, "content": _BINARY}}


@router.put("", openapi_extra=_UPLOAD, responses=responses(404, 409, 413, 507, also={200: _ETAG}))
async def upload_model(training_id: Id, request: Request, models: AppModels, response: Response) -> ModelVersionOut:
    """Give a training its initial parameters; without them the first selected client is asked.

    The body is a file: `curl -T model.safetensors -H "Authorization: Bearer $KEY" $SERVER/v1/trainings/$ID/model`.
    """
    version = await models.upload(training_id, request.stream())
    response.headers["ETag"] = f'"{version.sha256}"'
    return ModelVersionOut.of(version)


@router.get(
    "",
    response_class=FileResponse,
    responses=responses(
        404,
        416,
        also={
            200: {"content": _BINARY, "description": "The parameters"} | _ETAG,
            206: {"content": _BINARY, "description": "The `Range` that was asked for"} | _ETAG,
            304: {"description": "The version is still the one of `If-None-Match`"} | _ETAG,
        },
    ),
)
async def download_model(
    training_id: Id,
    models: AppModels,
    number: Annotated[
        int | None, Query(alias="round", ge=0, lt=2**31, description="After which round; 0 for the initial")
    ] = None,
    if_none_match: IfNoneMatch = "",
    wanted: Annotated[  # `PartOfFile` reads it from the request
        str | None, Header(alias="Range", description="Which bytes, such as `bytes=0-1023`")
    ] = None,
) -> Response:
    """Download the newest parameters, or those after a round."""
    stored = await models.get(training_id, number)
    del wanted
    headers = {"ETag": f'"{stored.version.sha256}"'}
    if is_current(if_none_match, headers["ETag"]):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    name = f"{training_id}-round-{stored.version.round}.safetensors"
    return PartOfFile(stored.path, size=stored.version.size, headers=headers, media_type=MEDIA_TYPE, filename=name)
