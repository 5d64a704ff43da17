"""``/v1/keys``: the keys of people, programs and devices."""

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Path, Query, Response, status

from app.http.answers import key_out, new_key_out
from app.http.deps import AppKeys
from app.http.descriptions import responses, with_headers
from app.http.pages import Cursor, Limit, decode_cursor, page_of
from app.http.roles import Needs
from app.http.routes import ApiRoute
from tcsfeel.contract.fields import ID_PATTERN
from tcsfeel.contract.keys import ROTATIONS, CreateKey, KeyOut, NewKeyOut, RotateKey
from tcsfeel.contract.pages import Page

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=ApiRoute)

_LOCATION = with_headers(Location="The key's path")

Id = Annotated[str, Path(pattern=ID_PATTERN, examples=["3f0c2a9d5b7e"])]


@router.post(
    "",
    openapi_extra=Needs.admin,
    status_code=status.HTTP_201_CREATED,
    responses=responses(413, 415, also={201: _LOCATION}),
)
async def create_key(body: CreateKey, keys: AppKeys, response: Response) -> NewKeyOut:
    """Make a key. Its text is in this answer and nowhere else."""
    new = await keys.create(
        name=body.name, role=body.role, client_id=body.client_id, lifetime_seconds=body.lifetime_seconds
    )
    response.headers["Location"] = f"/v1/keys/{new.key.id}"
    return new_key_out(new, keys.state(new.key))


@router.get("", openapi_extra=Needs.admin)
async def list_keys(
    *,
    keys: AppKeys,
    role: Annotated[Literal["viewer", "operator", "admin", "agent"] | None, Query()] = None,
    state: Annotated[Literal["valid", "expired", "revoked"] | None, Query()] = None,
    client_id: Annotated[str | None, Query(pattern=ID_PATTERN, description="Only keys of this client's agent")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[KeyOut]:
    """List keys, newest first, including those that are not valid any more."""
    after = decode_cursor(cursor, float, str)
    found = await keys.page(
        limit=limit, after=(after[0], after[1]) if after else None, role=role, state=state, client_id=client_id
    )
    return page_of(found, lambda key: key_out(key, keys.state(key)), lambda key: (key.created_at, key.id))


@router.get("/{key_id}", openapi_extra=Needs.admin, responses=responses(404))
async def get_key(key_id: Id, keys: AppKeys) -> KeyOut:
    """Read a key, without its text."""
    key = await keys.get(key_id)
    return key_out(key, keys.state(key))


@router.delete("/{key_id}", openapi_extra=Needs.admin, status_code=status.HTTP_204_NO_CONTENT, responses=responses(404))
async def revoke_key(key_id: Id, keys: AppKeys) -> None:
    """Revoke a key. This server refuses it at once, and every other server within 5 seconds. It stays in the list."""
    await keys.revoke(key_id)


@router.post(
    "/{key_id}/rotate",
    openapi_extra=Needs.admin,
    status_code=status.HTTP_201_CREATED,
    responses=responses(404, 409, 413, 415, also={201: _LOCATION}),
)
async def rotate_key(
    key_id: Id, keys: AppKeys, response: Response, body: Annotated[RotateKey | None, Body(examples=ROTATIONS)] = None
) -> NewKeyOut:
    """Make a new key in place of a valid one. The old one stays valid for a time, so that it can be replaced."""
    asked = body or RotateKey()
    new = await keys.rotate(key_id, grace_seconds=asked.grace_seconds, lifetime_seconds=asked.lifetime_seconds)
    response.headers["Location"] = f"/v1/keys/{new.key.id}"
    return new_key_out(new, keys.state(new.key))
