"""``/v1/caller``: who the server takes the caller for."""

from fastapi import APIRouter

from app.http.deps import AppPrincipal
from app.http.roles import Needs
from app.http.routes import ApiRoute
from tcsfeel.contract.keys import CallerOut

router = APIRouter(prefix="/v1", tags=["keys"], route_class=ApiRoute)


@router.get("/caller", openapi_extra=Needs.viewer)
async def get_caller(principal: AppPrincipal) -> CallerOut:
    """Tell the caller whose key it uses, and which role that has."""
    return CallerOut(name=principal.name, role=principal.role, key_id=principal.key_id)
