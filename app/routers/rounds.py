"""``/v1/trainings/{id}/rounds``: the rounds of a training, and running a single round."""

import re
from contextlib import nullcontext
from typing import Annotated

from fastapi import APIRouter, Header, Path, Response, status

from app.domain.rounds import ENDED
from app.http.answers import listed_round, round_out, round_selection
from app.http.deps import AnswerPlace, AppPrincipal, AppSelections, AppTrainings, AppWaits, Departure, Idempotent, Party
from app.http.descriptions import responses, with_headers
from app.http.pages import Cursor, Limit, decode_cursor, page_of
from app.http.quotations import shown_to
from app.http.roles import Needs
from app.http.routes import ApiRoute
from app.http.writing import written
from app.routers.trainings import Id
from tcsfeel.contract.pages import Page
from tcsfeel.contract.rounds import RoundOut
from tcsfeel.contract.selections import RoundSelectionOut

router = APIRouter(prefix="/v1/trainings/{training_id}/rounds", tags=["rounds"], route_class=ApiRoute)

MAX_WAIT_SECONDS = 600
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")

_HEADERS = with_headers(
    Location="The round's path", Preference_Applied="`wait=SECONDS`, if the request had `Prefer: wait`"
)

Number = Annotated[int, Path(ge=1, lt=2**31, examples=[1])]


@router.post(
    "",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_202_ACCEPTED,
    responses=responses(
        404,
        409,
        413,
        also={
            200: {
                "model": RoundOut,
                "description": "The finished round, if the request had `Prefer: wait` and the round ended in time",
            }
            | _HEADERS,
            202: _HEADERS,
        },
    ),
)
async def run_round(
    *,
    training_id: Id,
    request: Idempotent,
    trainings: AppTrainings,
    waits: AppWaits,
    party: Party,
    departure: Departure,
    response: Response,
    prefer: Annotated[str, Header(max_length=256, examples=["wait=60"])] = "",
) -> RoundOut:
    """Run exactly one round of a created, paused or failed training. The training is paused afterwards."""
    wanted = _WAIT.search(prefer)
    seconds = min(int(wanted[1]), MAX_WAIT_SECONDS) if wanted else 0
    with waits.place(party) if seconds else nullcontext():
        number = await trainings.run_round(training_id, request)
        if seconds:
            await waits.wait(training_id, number, seconds, departure)
    round_ = await trainings.round(training_id, number)
    response.headers["Location"] = f"/v1/trainings/{training_id}/rounds/{number}"
    if wanted:
        response.headers["Preference-Applied"] = f"wait={seconds}"
        if round_.status in ENDED:
            response.status_code = status.HTTP_200_OK
    return round_out(round_)


@router.get("", openapi_extra=Needs.viewer, response_model=Page[RoundOut], responses=responses(404))
async def list_rounds(
    *,
    training_id: Id,
    trainings: AppTrainings,
    principal: AppPrincipal,
    place: AnswerPlace,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """List a training's rounds, newest first. A failure is one line in it: tracebacks are in the single rounds."""
    before = decode_cursor(cursor, int)
    async with place:
        found = await trainings.rounds(training_id, limit=limit, before=before[0] if before else None)
        return await written(
            lambda: page_of(
                found, lambda round_: shown_to(principal, listed_round(round_)), lambda round_: (round_.number,)
            )
        )


@router.get("/{number}", openapi_extra=Needs.viewer, response_model=RoundOut, responses=responses(404))
async def get_round(
    training_id: Id, number: Number, trainings: AppTrainings, principal: AppPrincipal, place: AnswerPlace
) -> Response:
    """Read one round with its participations."""
    async with place:
        round_ = await trainings.round(training_id, number)
        return await written(lambda: shown_to(principal, round_out(round_)))


@router.get(
    "/{number}/selection", openapi_extra=Needs.viewer, response_model=RoundSelectionOut, responses=responses(404)
)
async def get_round_selection(
    training_id: Id, number: Number, selections: AppSelections, principal: AppPrincipal, place: AnswerPlace
) -> Response:
    """Explain for each client why it was selected for a round or not. 404 until the round is planned."""
    async with place:
        selection = await selections.of_round(training_id, number)
        return await written(lambda: shown_to(principal, round_selection(selection)))
