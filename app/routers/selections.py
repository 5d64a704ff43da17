"""``/v1/selections``: plan a round without running it."""

from fastapi import APIRouter, Response

from app.http.answers import planned_selection
from app.http.deps import AnswerPlace, ApiRoute, AppSelections
from app.http.openapi import responses
from app.http.requests import selection_policy
from app.http.roles import Needs
from app.http.writing import written
from tcsfeel.contract.selections import PlanSelection, SelectionOut

router = APIRouter(prefix="/v1", tags=["selections"], route_class=ApiRoute)


@router.post("/selections", openapi_extra=Needs.viewer, response_model=SelectionOut, responses=responses(409, 413, 415))
async def plan_selection(body: PlanSelection, selections: AppSelections, place: AnswerPlace) -> Response:
    """Plan one round and explain for each client why it is selected or not. Nothing is stored."""
    planned = await selections.plan(
        body.strategy,
        selection_policy(body),
        seed=body.seed,
        round_number=body.round_number,
        exclude=body.exclude,
        compare=body.compare,
    )
    version = planned.connectivity_version
    async with place:
        return await written(
            lambda: planned_selection(planned.selections, connectivity_version=version, seed=body.seed)
        )
