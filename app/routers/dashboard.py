"""The dashboard: a page at ``/`` and the files that it needs. The page calls the REST API with the key of its user."""

import html
from importlib.resources import files
from os import PathLike, stat_result
from string import Template

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.http.deps import AppSettings
from app.http.prefix import prefix_of
from app.http.security_headers import OWN_FILES

FILES = "/dashboard"

router = APIRouter(include_in_schema=False)

_PAGE = Template(files("app").joinpath("dashboard", "index.html").read_text("utf-8"))


@router.get("/")
async def dashboard(request: Request, settings: AppSettings) -> Response:
    """Return the page. It holds no data, so it needs no key."""
    needs_key = "yes" if settings.auth.enabled else "no"
    text = _PAGE.substitute(files=html.escape(f"{prefix_of(request)}{FILES}"), needs_key=needs_key)
    return HTMLResponse(text, headers={"Content-Security-Policy": OWN_FILES})


class DashboardFiles(StaticFiles):
    """Serves the files of the dashboard. Browsers keep them, and ask each time whether they are still the same."""

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "no-cache"
        return response
