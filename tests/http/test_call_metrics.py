"""The metrics of calls.

Covers: app.http.call_metrics
"""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from app.http.call_metrics import CallMetrics


async def answer(_request: Request) -> Response:
    return Response(b"12345", status_code=201)


async def fail(_request: Request) -> Response:
    raise ZeroDivisionError


async def nothing() -> Message:
    raise AssertionError("no message is wanted")


async def forget(_message: Message) -> None: ...


async def call(app: Any, method: str, path: str, length: int = 0) -> None:
    """Send one request."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * length, "more_body": False}

    headers = [(b"content-length", str(length).encode())]
    await app(
        {"type": "http", "method": method, "path": path, "root_path": "", "headers": headers, "query_string": b""},
        receive,
        forget,
    )


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def app(registry: CollectorRegistry) -> CallMetrics:
    routes = [
        Route("/things/{name}", answer, methods=["PUT"]),
        Route("/faults", fail),
        Route("/metrics", answer),
    ]
    return CallMetrics(Starlette(routes=routes), registry)


def count(registry: CollectorRegistry, handler: str, method: str, status: str) -> float | None:
    labels = {"handler": handler, "method": method, "status": status}
    return registry.get_sample_value("http_requests_total", labels)


async def test_a_call_counts_for_the_path_of_its_route(app: CallMetrics, registry: CollectorRegistry) -> None:
    for name in "ab":
        await call(app, "PUT", f"/things/{name}", length=3)
    assert count(registry, "/things/{name}", "PUT", "2xx") == 2
    of_route = {"handler": "/things/{name}"}
    assert registry.get_sample_value("http_request_size_bytes_sum", of_route) == 6
    assert registry.get_sample_value("http_response_size_bytes_sum", of_route) == 10
    assert registry.get_sample_value("http_request_duration_seconds_count", of_route | {"method": "PUT"}) == 2
    assert registry.get_sample_value("http_request_duration_highr_seconds_count") == 2


async def test_a_wrong_method_counts_for_its_route_and_a_wrong_path_for_none(
    app: CallMetrics, registry: CollectorRegistry
) -> None:
    await call(app, "GET", "/things/a")
    await call(app, "GET", "/invented")
    assert count(registry, "/things/{name}", "GET", "4xx") == 1
    assert count(registry, "none", "GET", "4xx") == 1


async def test_an_error_without_an_answer_counts_as_one_of_the_server(
    app: CallMetrics, registry: CollectorRegistry
) -> None:
    with pytest.raises(ZeroDivisionError):
        await call(app, "GET", "/faults")
    assert count(registry, "/faults", "GET", "5xx") == 1


def test_calls_of_two_applications_are_not_counted_in_one_registry(registry: CollectorRegistry) -> None:
    CallMetrics(Starlette(), registry)
    with pytest.raises(ValueError, match="already"):
        CallMetrics(Starlette(), registry)


async def test_reads_of_the_metrics_and_other_protocols_do_not_count(registry: CollectorRegistry) -> None:
    seen = []

    async def inner(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    counting = CallMetrics(inner, registry)
    await call(counting, "GET", "/metrics")
    await counting({"type": "lifespan"}, nothing, forget)
    assert seen == ["http", "lifespan"]
    assert count(registry, "none", "GET", "5xx") is None
