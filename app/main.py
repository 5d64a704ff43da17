"""The application: the REST API and the pages over the services that `app.composition` has made."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from app import __version__
from app.clock import Clock, SystemClock
from app.composition import build
from app.http import openapi, problems
from app.http.address_limits import AddressLimits
from app.http.call_metrics import CallMetrics
from app.http.frames import Frames
from app.http.lookup import RouteIndex
from app.http.middleware import RequestContext
from app.routers import OPEN, V1, dashboard
from app.routers.documentation import ASSETS
from app.services.lifetime import running
from app.services.tasks.responses import Transport
from app.settings import Settings
from app.traces import Traces


def create_app(
    settings: Settings | None = None,
    *,
    clock: Clock | None = None,
    agents: Transport | None = None,
    traces: Traces | None = None,
) -> FastAPI:
    """The ASGI application. `clock`, `agents` (a transport to them) and `traces` replace the real ones in tests."""
    settings = settings or Settings.load()
    system = build(settings, clock or SystemClock(), agents, traces=traces)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with running(system):
            yield

    app = FastAPI(
        title="TCS-FEEL",
        version=__version__,
        description=openapi.DESCRIPTION,
        openapi_url=None,  # `documentation` has the page and the document
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.mount(ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]))
    app.mount(dashboard.FILES, dashboard.DashboardFiles(packages=[("app", "dashboard")]))
    app.state.system = system
    app.state.frames = Frames()
    problems.install(app)
    openapi.install(app)
    app.router.routes.append(RouteIndex(route for router in V1 for route in router.routes))
    for router in (*V1, *OPEN):
        app.router.routes.extend(router.routes)  # FastAPI looks for a route in a router that it includes more slowly
    app.add_middleware(CallMetrics, registry=system.metrics.registry)
    app.add_middleware(AddressLimits, limits=system.limits, metrics=system.metrics)
    app.add_middleware(
        RequestContext,
        trail=system.audit,
        path_prefix=settings.path_prefix or "",
        remembers=system.callers.remembers,
    )
    return app
