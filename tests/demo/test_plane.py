import httpx2
import pytest

from app.demo.errors import DemoFailed
from app.demo.plane import Plane


def make(answer: httpx2.Response | Exception, died: bool = False) -> Plane:
    def handle(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["Authorization"] == "Bearer key"
        if isinstance(answer, Exception):
            raise answer
        return answer

    def check() -> None:
        if died:
            raise DemoFailed("it has died")

    return Plane("http://plane", "key", check=check, transport=httpx2.MockTransport(handle))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx2.Response(409, json={"detail": "cannot start", "errors": None}), "409 cannot start"),
        (
            httpx2.Response(422, json={"detail": "invalid", "errors": [{"pointer": "/a", "detail": "must be b"}]}),
            "422 /a: must be b",
        ),
        (
            httpx2.Response(502, text="bad\ngateway"),
            (
                "502 Bad Gateway (the answer is not a problem document: text/plain; charset=utf-8, 11 bytes)"
                " (the demo's --keep keeps the logs)"
            ),
        ),
        (
            httpx2.Response(418, json=["what"]),
            "418 I'm a Teapot (the answer is not a problem document: application/json, 8 bytes)",
        ),
    ],
)
def test_a_refusal_is_told_in_one_line(answer: httpx2.Response, reason: str) -> None:
    with make(answer) as plane, pytest.raises(DemoFailed) as failed:
        plane.post("/v1/trainings", {})
    assert str(failed.value) == f"the control plane refused POST /v1/trainings: {reason}"


def test_no_answer_is_told_with_the_reason_where_there_is_a_better_one() -> None:
    with make(httpx2.ConnectError("refused")) as plane, pytest.raises(DemoFailed, match="does not answer GET /x"):
        plane.get("/x")
    with make(httpx2.ConnectError("refused"), died=True) as plane, pytest.raises(DemoFailed, match="it has died"):
        plane.get("/x")


@pytest.mark.parametrize(
    ("answer", "ready"),
    [(httpx2.Response(200, json={}), True), (httpx2.Response(503), False), (httpx2.ConnectError("refused"), False)],
)
def test_a_plane_is_ready_once_it_says_so(answer: httpx2.Response | Exception, ready: bool) -> None:
    with make(answer) as plane:
        assert plane.is_ready() is ready


def test_waiting_for_a_plane_that_died_ends_at_once() -> None:
    with make(httpx2.Response(503), died=True) as plane, pytest.raises(DemoFailed, match="it has died"):
        plane.is_ready()
