"""The description of the API: the OpenAPI document, and Swagger UI to read and try it."""

import html
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.http.prefix import prefix_of
from app.http.readers import reader_of_documentation
from app.http.security_headers import policy_of

ASSETS = "/static-offline-docs"
DOCUMENT = "/openapi.json"
_LOGO = "favicon.png"

router = APIRouter(include_in_schema=False, dependencies=[Depends(reader_of_documentation)])


@router.get(DOCUMENT)
async def document(request: Request) -> Response:
    """Return the OpenAPI document. Behind a prefix it names the prefix."""
    described: dict[str, Any] = request.app.openapi()
    prefix = prefix_of(request)
    return JSONResponse(described | {"servers": [{"url": prefix}]} if prefix else described)


@router.get("/docs")
async def swagger_ui(request: Request) -> Response:
    """Show Swagger UI. Its files come from this server."""
    prefix = html.escape(prefix_of(request))
    page = get_swagger_ui_html(
        openapi_url=f"{prefix}{DOCUMENT}",
        title=f"{request.app.title} - Swagger UI",
        swagger_js_url=f"{prefix}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{prefix}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{prefix}{ASSETS}/{_LOGO}",
    )
    text = bytes(page.body).decode()
    return HTMLResponse(text, headers={"Content-Security-Policy": policy_of(text)})
