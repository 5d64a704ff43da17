"""The endpoints for operators and monitoring: whether the server is up and ready, and its metrics."""

import asyncio

from fastapi import APIRouter, Depends, Response, status
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.http.answers import ready
from app.http.deps import AppSystem
from app.http.descriptions import responses
from app.http.readers import reader_of_metrics
from app.services.readiness import readiness
from app.threads import in_thread
from tcsfeel.contract.operations import Health, Ready

router = APIRouter(tags=["operations"], responses=responses(429))


@router.get("/healthz")
async def healthz() -> Health:
    """Tell that the process is up."""
    return Health()


@router.get("/readyz", responses={503: {"model": Ready, "description": "Not ready"}})
async def readyz(system: AppSystem, response: Response) -> Ready:
    """Tell whether the database answers, its migrations are current, and the coordinator ticks."""
    answer = ready(await readiness(system))
    if answer.status != "ready":
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return answer


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    dependencies=[Depends(reader_of_metrics)],
    responses=responses(401, 403, 503),
)
async def metrics(system: AppSystem) -> Response:
    """Return the metrics for Prometheus. While the database does not answer, client counts keep their last values.

    The server may be set to ask for a key.
    """
    await asyncio.gather(system.census.take(), system.survey.take())
    body = await in_thread("administration", generate_latest, system.metrics.registry)
    return Response(body, media_type=CONTENT_TYPE_LATEST)
