"""``/v1/trainings``: creating, reading, starting and stopping trainings."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response, status

from app.http.answers import training_out
from app.http.deps import AnswerPlace, AppPrincipal, AppSettings, AppTrainings, Idempotent
from app.http.descriptions import responses, with_headers
from app.http.pages import Cursor, Limit, decode_cursor, page_of
from app.http.quotations import shown_to
from app.http.requests import changed_config, training_config
from app.http.roles import Needs
from app.http.routes import ApiRoute
from app.http.writing import written
from app.services.trainings.forking import Start
from tcsfeel.contract.fields import ID_PATTERN
from tcsfeel.contract.pages import Page
from tcsfeel.contract.training_changes import ChangeTraining, ExtendTraining, ForkTraining, NewTraining
from tcsfeel.contract.trainings import CreateTraining, TrainingOut

router = APIRouter(prefix="/v1/trainings", tags=["trainings"], route_class=ApiRoute)

EXAMPLES = Body(openapi_examples={"new": {"value": CreateTraining.model_json_schema()["examples"][0]}})
Id = Annotated[str, Path(pattern=ID_PATTERN, examples=["3f0c2a9d5b7e4c11"])]


@router.post(
    "",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_201_CREATED,
    responses=responses(410, 413, 415, also={201: with_headers(Location="The training's path")}),
)
async def create_training(
    body: Annotated[NewTraining, EXAMPLES],
    request: Idempotent,
    trainings: AppTrainings,
    settings: AppSettings,
    response: Response,
) -> TrainingOut:
    """Create a training. With `from`, it starts from a version of another one. It does not run until it is started."""
    if isinstance(body, ForkTraining):
        start = Start(body.from_.training, body.from_.round, body.from_.optimiser)
        training = await trainings.fork(start, lambda source: changed_config(body, source, settings.training), request)
    else:
        training = await trainings.create(training_config(body, settings.training), request)
    response.headers["Location"] = f"/v1/trainings/{training.id}"
    return training_out(training)


@router.get("", openapi_extra=Needs.viewer, response_model=Page[TrainingOut])
async def list_trainings(
    *, trainings: AppTrainings, principal: AppPrincipal, place: AnswerPlace, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """List trainings, newest first."""
    after = decode_cursor(cursor, float, str)
    async with place:
        found = await trainings.page(limit=limit, after=(after[0], after[1]) if after else None)
        return await written(
            lambda: page_of(
                found,
                lambda training: shown_to(principal, training_out(training)),
                lambda training: (training.created_at, training.id),
            )
        )


@router.get("/{training_id}", openapi_extra=Needs.viewer, responses=responses(404))
async def get_training(training_id: Id, trainings: AppTrainings, principal: AppPrincipal) -> TrainingOut:
    """Read a training."""
    return shown_to(principal, training_out(await trainings.get(training_id)))


@router.patch("/{training_id}", openapi_extra=Needs.operator, responses=responses(404, 409, 413, 415))
async def change_training(
    training_id: Id, body: ChangeTraining, trainings: AppTrainings, settings: AppSettings
) -> TrainingOut:
    """Change some fields of a created, paused or failed training. What clients have been asked already stays."""
    return training_out(
        await trainings.change(training_id, lambda training: changed_config(body, training, settings.training))
    )


@router.post(
    "/{training_id}/start",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_202_ACCEPTED,
    responses=responses(404, 409),
)
async def start_training(training_id: Id, trainings: AppTrainings) -> TrainingOut:
    """Start a created, paused or failed training. It runs until it reaches its target or its last round."""
    return training_out(await trainings.start(training_id))


@router.post(
    "/{training_id}/pause",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_202_ACCEPTED,
    responses=responses(404, 409),
)
async def pause_training(training_id: Id, trainings: AppTrainings) -> TrainingOut:
    """Stop a running training where it is. A round that is open continues when the training is resumed."""
    return training_out(await trainings.pause(training_id))


@router.post(
    "/{training_id}/resume",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_202_ACCEPTED,
    responses=responses(404, 409),
)
async def resume_training(training_id: Id, trainings: AppTrainings) -> TrainingOut:
    """Resume a paused, created or failed training."""
    return training_out(await trainings.start(training_id, "resume"))


@router.post(
    "/{training_id}/cancel",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_202_ACCEPTED,
    responses=responses(404, 409),
)
async def cancel_training(training_id: Id, trainings: AppTrainings) -> TrainingOut:
    """End a training for good. Its model and its history are kept."""
    return training_out(await trainings.cancel(training_id))


@router.post(
    "/{training_id}/extend",
    openapi_extra=Needs.operator,
    status_code=status.HTTP_202_ACCEPTED,
    responses=responses(404, 409, 413, 415),
)
async def extend_training(
    training_id: Id, body: ExtendTraining, request: Idempotent, trainings: AppTrainings, settings: AppSettings
) -> TrainingOut:
    """Let a completed or failed training run more rounds, from its last version. It runs at once."""
    return training_out(
        await trainings.extend(training_id, lambda training: changed_config(body, training, settings.training), request)
    )
