"""The endpoints for operators and monitoring: whether the server is up and ready, and its metrics."""

import asyncio
from collections.abc import Callable

from fastapi import APIRouter, Depends, Request, Response, status
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from app.http.answers import ready
from app.http.deps import AppSystem
from app.http.descriptions import responses
from app.http.readers import reader_of_metrics
from app.services.readiness import readiness
from app.threads import in_thread
from tcsfeel.contract.operations import Health, Ready

OPENMETRICS = "application/openmetrics-text"
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
async def metrics(system: AppSystem, request: Request) -> Response:
    """Return the metrics for Prometheus. While the database does not answer, client counts keep their last values.

    The server may be set to ask for a key. If it exports traces, a caller that accepts OpenMetrics gets that format,
    which leads from the durations of rounds to their traces.
    """
    await asyncio.gather(system.census.take(), system.survey.take())
    write: Callable[[CollectorRegistry], bytes] = generate_latest
    kind = CONTENT_TYPE_LATEST
    if system.traces.exports and OPENMETRICS in request.headers.get("Accept", "").lower():
        write, kind = openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST
    return Response(await in_thread("administration", write, system.metrics.registry), media_type=kind)
