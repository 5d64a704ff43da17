import httpx
import pytest

from app.demo.errors import DemoFailed
from app.demo.plane import Plane


def make(answer: httpx.Response | Exception, died: bool = False) -> Plane:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer key"
        if isinstance(answer, Exception):
            raise answer
        return answer

    def check() -> None:
        if died:
            raise DemoFailed("it has died")

    return Plane("http://plane", "key", check=check, transport=httpx.MockTransport(handle))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(409, json={"detail": "cannot start", "errors": None}), "409 cannot start"),
        (
            httpx.Response(422, json={"detail": "invalid", "errors": [{"pointer": "/a", "detail": "must be b"}]}),
            "422 /a: must be b",
        ),
        (
            httpx.Response(502, text="bad\ngateway"),
            (
                "502 Bad Gateway (the answer is not a problem document: text/plain; charset=utf-8, 11 bytes)"
                " (the demo's --keep keeps the logs)"
            ),
        ),
        (
            httpx.Response(418, json=["what"]),
            "418 I'm a Teapot (the answer is not a problem document: application/json, 8 bytes)",
        ),
    ],
)
def test_a_refusal_is_told_in_one_line(answer: httpx.Response, reason: str) -> None:
    with make(answer) as plane, pytest.raises(DemoFailed) as failed:
        plane.post("/v1/trainings", {})
    assert str(failed.value) == f"the control plane refused POST /v1/trainings: {reason}"


def test_no_answer_is_told_with_the_reason_where_there_is_a_better_one() -> None:
    with make(httpx.ConnectError("refused")) as plane, pytest.raises(DemoFailed, match="does not answer GET /x"):
        plane.get("/x")
    with make(httpx.ConnectError("refused"), died=True) as plane, pytest.raises(DemoFailed, match="it has died"):
        plane.get("/x")


@pytest.mark.parametrize(
    ("answer", "ready"),
    [(httpx.Response(200, json={}), True), (httpx.Response(503), False), (httpx.ConnectError("refused"), False)],
)
def test_a_plane_is_ready_once_it_says_so(answer: httpx.Response | Exception, ready: bool) -> None:
    with make(answer) as plane:
        assert plane.is_ready() is ready


def test_waiting_for_a_plane_that_died_ends_at_once() -> None:
    with make(httpx.Response(503), died=True) as plane, pytest.raises(DemoFailed, match="it has died"):
        plane.is_ready()
