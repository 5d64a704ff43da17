"""``/v1/strategies``: the strategies that a selection can use."""

from fastapi import APIRouter

from app.http.roles import Needs
from app.http.routes import ApiRoute
from tcsfeel.contract.strategies import StrategiesOut, StrategyOut
from tcsfeel.selection import installed

router = APIRouter(prefix="/v1", tags=["selections"], route_class=ApiRoute)


@router.get("/strategies", openapi_extra=Needs.viewer)
async def list_strategies() -> StrategiesOut:
    """List the selection strategies with their parameters, including those that other packages provide."""
    return StrategiesOut(items=[StrategyOut.of(strategy) for strategy in installed().values()])
