"""``/v1/selections``: plan a round without running it."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from app.http.answers import planned_selection
from app.http.deps import AnswerPlace, AppSelections
from app.http.descriptions import responses
from app.http.requests import selection_policy
from app.http.roles import Needs
from app.http.routes import ApiRoute
from app.http.writing import written
from tcsfeel.contract.selections import PLANS, PlanSelection, SelectionOut

router = APIRouter(prefix="/v1", tags=["selections"], route_class=ApiRoute)


@router.post("/selections", openapi_extra=Needs.viewer, response_model=SelectionOut, responses=responses(409, 413, 415))
async def plan_selection(
    selections: AppSelections,
    place: AnswerPlace,
    body: Annotated[PlanSelection | None, Body(examples=PLANS)] = None,
) -> Response:
    """Plan one round and explain for each client why it is selected or not. Nothing is stored."""
    asked = body or PlanSelection()
    planned = await selections.plan(
        asked.strategy,
        selection_policy(asked),
        seed=asked.seed,
        round_number=asked.round_number,
        exclude=asked.exclude,
        compare=asked.compare,
    )
    version = planned.connectivity_version
    async with place:
        return await written(
            lambda: planned_selection(planned.selections, connectivity_version=version, seed=asked.seed)
        )
