"""``/v1/connectivity`` and ``/v1/topology``: the costs of links, and figures about the network."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response, status
from fastapi.responses import StreamingResponse

from app.http.batches import changes
from app.http.bodies import ContentType, require_json, whole
from app.http.deps import AnswerPlace, AppConnectivity
from app.http.descriptions import json_body, responses, with_headers
from app.http.roles import Needs
from app.http.routes import ApiRoute
from app.http.writing import streamed, written
from app.routers.matrices import JSON_CELL_BYTES, reader_of, writer_for
from app.routers.preconditions import IfNoneMatch, is_current
from app.threads import in_thread
from tcsfeel.contract.connectivity import (
    EDGES_EXAMPLE,
    MATRIX_EXAMPLE,
    ConnectivityOut,
    ConnectivityVersion,
    TopologyOut,
)
from tcsfeel.wire.codec import MEDIA_TYPE

router = APIRouter(prefix="/v1", tags=["connectivity"], route_class=ApiRoute)

_ETAG = with_headers(ETag="The version of the matrix, in quotes")
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_REPLACE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/ReplaceConnectivity"},
                "examples": {"matrix": {"value": MATRIX_EXAMPLE}, "edges": {"value": EDGES_EXAMPLE}},
            },
            MEDIA_TYPE: _BINARY,
        },
    }
}


@router.put("/connectivity", openapi_extra=Needs.operator | _REPLACE, responses=responses(413, 415, also={200: _ETAG}))
async def replace_connectivity(
    request: Request,
    response: Response,
    connectivity: AppConnectivity,
    content_type: ContentType = "",
) -> ConnectivityVersion:
    """Replace the matrix of link costs. If there is an error anywhere in it, the old one stays."""
    form, cell_bytes = reader_of(content_type)
    body = await whole(request, await connectivity.most_bytes(cell_bytes))
    version = await connectivity.replace(form(body))
    response.headers["ETag"] = _etag(version)
    return ConnectivityVersion(version=version)


@router.patch(
    "/connectivity",
    openapi_extra=Needs.operator | json_body("ChangeConnectivity"),
    responses=responses(413, 415, also={200: _ETAG}),
)
async def change_connectivity(
    request: Request, response: Response, connectivity: AppConnectivity, content_type: ContentType = ""
) -> ConnectivityVersion:
    """Set or remove some links."""
    require_json(content_type)
    body = await whole(request, await connectivity.most_bytes(JSON_CELL_BYTES))
    version = await connectivity.change(await in_thread("matrices", changes, body))
    response.headers["ETag"] = _etag(version)
    return ConnectivityVersion(version=version)


@router.get(
    "/connectivity",
    openapi_extra=Needs.viewer,
    response_class=Response,
    responses={
        200: {
            "model": ConnectivityOut,
            "content": {MEDIA_TYPE: _BINARY},
        }
        | _ETAG,
        304: {"description": "The matrix is still the version in `If-None-Match`"} | _ETAG,
    },
)
async def get_connectivity(
    connectivity: AppConnectivity,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    if_none_match: IfNoneMatch = "",
) -> Response:
    """Read the matrix. `Accept` chooses between JSON and safetensors."""
    headers = {"ETag": _etag(await connectivity.latest_version()), "Vary": "Accept"}
    if is_current(if_none_match, headers["ETag"]):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    value = await connectivity.latest()
    headers["ETag"] = _etag(value.version)
    form, media_type = writer_for(accept)
    return StreamingResponse(streamed("matrices", form(value)), headers=headers, media_type=media_type)


@router.get("/topology", openapi_extra=Needs.viewer, response_model=TopologyOut)
async def get_topology(connectivity: AppConnectivity, place: AnswerPlace) -> Response:
    """Describe the registered clients and their links in numbers."""
    stats, links = await connectivity.topology(), await connectivity.measured()
    async with place:
        return await written(lambda: TopologyOut.model_validate({**asdict(stats), "measured_links": links}))


def _etag(version: int) -> str:
    return f'"{version}"'
