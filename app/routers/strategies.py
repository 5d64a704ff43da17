"""``/v1/strategies``: what a selection can name."""

from fastapi import APIRouter

from app.deps import ApiRoute
from app.domain.selection import installed
from app.schemas.strategies import StrategiesOut, StrategyOut

router = APIRouter(prefix="/v1", tags=["selections"], route_class=ApiRoute)


@router.get("/strategies")
async def list_strategies() -> StrategiesOut:
    """List the selection strategies with their parameters, those of other packages included."""
    return StrategiesOut(items=[StrategyOut.of(strategy) for strategy in installed().values()])
