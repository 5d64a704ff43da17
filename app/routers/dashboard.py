"""The dashboard: a page at ``/`` and the files that it needs. The page calls the REST API with the key of its user."""

import gzip
import hashlib
import html
import mimetypes
import os
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from string import Template

from fastapi import APIRouter, Request
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
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
    """Serves the files of the dashboard, compressed. Browsers keep them, and ask each time whether they have changed.

    Compression gives no secret away here: the files are the same for everybody.
    """

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        asked = Headers(scope=scope)
        response: Response
        if scope["method"] == "GET" and _takes_gzip(asked.get("Accept-Encoding", "")):
            response = _compressed(Path(full_path), stat_result.st_mtime_ns)
            if self.is_not_modified(response.headers, asked):
                response = NotModifiedResponse(response.headers)
        else:
            response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Vary"] = "Accept-Encoding"
        return response


def _takes_gzip(accepted: str) -> bool:
    """Tell whether an ``Accept-Encoding`` names gzip and does not refuse it (``q=0``)."""
    for offer in accepted.lower().split(","):
        name, _, weight = offer.replace(" ", "").partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or weight == ""
    return False


def _compressed(path: Path, changed_at: int) -> Response:
    """Make the answer with the compressed file."""
    content = _content(path, changed_at)
    kind, _ = mimetypes.guess_type(path.name)
    etag = f'"{hashlib.sha256(content).hexdigest()}"'
    return Response(content, media_type=kind, headers={"Content-Encoding": "gzip", "ETag": etag})


@lru_cache(maxsize=64)
def _content(path: Path, _changed_at: int) -> bytes:
    """Compress a file once for each time that it changes."""
    return gzip.compress(path.read_bytes(), mtime=0)
