"""``/v1/session``: what the dashboard calls to log in and out. Programs send their key with each call instead."""

from fastapi import APIRouter, Request, Response, status

from app.http.deps import AppPrincipal, AppSystem
from app.http.prefix import prefix_of
from app.http.roles import Needs
from app.http.routes import ApiRoute
from app.services.access.keys import Unauthenticated
from app.services.access.sessions import SECONDS
from tcsfeel.contract.keys import CallerOut

router = APIRouter(prefix="/v1/session", route_class=ApiRoute, include_in_schema=False)


@router.post("", openapi_extra=Needs.viewer)
async def begin_session(request: Request, response: Response, found: AppSystem, principal: AppPrincipal) -> CallerOut:
    """Exchange the key of this call for a cookie, which only the server can read and scripts cannot see."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated  # a session does not make another one
    response.set_cookie(
        found.sessions.cookie,
        found.sessions.seal(key.strip()),
        max_age=int(SECONDS),
        path=f"{prefix_of(request)}/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return CallerOut(name=principal.name, role=principal.role, key_id=principal.key_id)


@router.delete("", openapi_extra=Needs.viewer, status_code=status.HTTP_204_NO_CONTENT)
async def end_session(request: Request, response: Response, found: AppSystem) -> None:
    """Let the browser forget the cookie."""
    response.delete_cookie(
        found.sessions.cookie,
        path=f"{prefix_of(request)}/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
