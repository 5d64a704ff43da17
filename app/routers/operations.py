"""What operators and their machines ask: is it up, is it ready, what does it count."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Response, status
from fastapi.responses import PlainTextResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.deps import AppSystem
from app.problems import responses
from app.schemas.fields import ResponseModel
from app.services.readiness import readiness

router = APIRouter(tags=["operations"])


class Health(ResponseModel):
    """The process is up."""

    status: Literal["ok"] = "ok"


class Ready(ResponseModel):
    """Each check's finding; `ok` where there is nothing to say."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str]


@router.get("/healthz")
async def healthz() -> Health:
    """Tell that the process is up."""
    return Health()


@router.get("/readyz", responses={503: {"model": Ready, "description": "Not ready"}})
async def readyz(system: AppSystem, response: Response) -> Ready:
    """Tell whether the database answers, its migrations are current, and the coordinator ticks."""
    checks = await readiness(system)
    ready = all(finding == "ok" for finding in checks.values())
    if not ready:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Ready(status="ready" if ready else "not ready", checks=checks)


@router.get("/metrics", response_class=PlainTextResponse, responses=responses(503))
async def metrics(system: AppSystem) -> Response:
    """Prometheus metrics."""
    async with system.db.read() as tx:
        system.metrics.count_clients(await tx.clients.count_by_status())
        system.metrics.open_breakers.set(await tx.clients.count_open_breakers())
    body = await asyncio.to_thread(generate_latest, system.metrics.registry)
    return Response(body, media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
async def index() -> Response:
    """Where a browser lands; the dashboard takes this place later."""
    return RedirectResponse("/docs")
