"""The index of routes finds what the framework would find by trying all routes in their order."""

import pytest
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route

from app.http.lookup import RouteIndex
from app.routers import V1

ROUTES = [route for router in V1 for route in router.routes]
PATHS = [
    "/", "/v1", "/v1/", "/v1/nowhere", "/v1/clients", "/v1/clients/", "/v1/clients/a", "/v1/clients/a/heartbeat",
    "/v1/clients/batch", "/v1/clients/a/b/c", "/v2/clients/a", "/v1/trainings/a/rounds/1", "/v1/trainings/a/model",
]  # fmt: skip


def tried_in_order(method: str, path: str) -> BaseRoute | None:
    scope = {"type": "http", "method": method, "path": path}
    return next((route for route in ROUTES if route.matches(dict(scope))[0] is Match.FULL), None)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OTHER"])
def test_each_path_leads_to_the_first_route_that_fits(method: str) -> None:
    index = RouteIndex(ROUTES)
    paths = [route.path.replace("{number}", "1") for route in ROUTES if isinstance(route, Route)]
    for path in (*PATHS, *(one.replace("{", "").replace("}", "") for one in paths)):
        match, child = index.matches({"type": "http", "method": method, "path": path})
        expected = tried_in_order(method, path)
        assert child.get("route") is expected, (method, path)
        assert (match is Match.FULL) is (expected is not None)


def test_what_is_no_call_at_the_root_is_left_to_the_framework() -> None:
    index = RouteIndex(ROUTES)
    scope = {"method": "GET", "path": "/v1/clients"}
    assert index.matches({**scope, "type": "http"})[0] is Match.FULL
    assert index.matches({**scope, "type": "http", "root_path": "/proxy"})[0] is Match.NONE
    assert index.matches({**scope, "type": "websocket"})[0] is Match.NONE


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/{name}", "/v1/files/{path:path}"])
def test_a_route_that_cannot_be_found_by_its_segments_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no second segment"):
        RouteIndex([Route(path, lambda _request: Response())])
    with pytest.raises(TypeError, match="no route with a method"):
        RouteIndex([Mount("/v1/files", routes=[])])
