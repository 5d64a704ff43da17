"""What can go wrong between a client and its server, on real sockets: what is repeated, and what is told."""

import json
import os
import socket

import httpx2
import pytest

from tcsfeel.client import (
    AsyncClient,
    Client,
    Conflict,
    Invalid,
    NoAnswer,
    NotFound,
    Patience,
    Refused,
    ServerFault,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)
from tcsfeel.rest.paths import path
from tcsfeel.rest.transport import shown
from tests.tcsfeel.client.callers import Caller, both
from tests.tcsfeel.client.servers import answer, scripted

HEALTHY = answer(200, b'{"status": "ok"}')
PAGE = b"<html><body>Bad gateway, says the proxy</body></html>"


def problem(status: int, kind: str, detail: str = "it is so", **headers: str) -> bytes:
    body = {"type": f"urn:tcsfeel:problem:{kind}", "title": "A title", "status": status, "detail": detail}
    body |= {"errors": [{"pointer": "/name", "detail": "is too long"}]} if kind == "invalid" else {}
    return answer(status, json.dumps(body).encode(), None, **headers)


@both
@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (401, "unauthenticated", Unauthenticated),
        (404, "not-found", NotFound),
        (409, "state-forbids", Conflict),
        (422, "invalid", Invalid),
        (500, "internal", ServerFault),
    ],
)
def test_a_problem_becomes_an_exception_with_its_fields(
    call: Caller, status: int, kind: str, expected: type[Refused]
) -> None:
    with scripted(problem(status, kind)) as server, pytest.raises(expected) as refused:
        call(server.url, "get_client", "edge-1")
    error = refused.value
    assert type(error) is expected
    assert (error.status, error.kind, error.title, error.detail) == (status, kind, "A title", "it is so")
    assert [field.pointer for field in error.errors] == (["/name"] if kind == "invalid" else [])
    assert str(error).startswith(f"{status} it is so")


@both
@pytest.mark.parametrize("status", [429, 502, 503, 504, 507])
def test_a_read_is_repeated_until_the_server_can_answer(call: Caller, status: int) -> None:
    with scripted(problem(status, "crowded"), b"", answer(200, b"{", length=100), HEALTHY) as server:
        assert call(server.url, "healthz").status == "ok"
    assert len(server.requests) == 4


@both
def test_the_pause_is_at_least_what_the_server_asks_for_and_never_beyond_the_deadline(call: Caller) -> None:
    with scripted(problem(503, "crowded", Retry_After="100")) as server, pytest.raises(Unavailable) as refused:
        call(server.url, "healthz")
    assert refused.value.retry_after == 100
    assert len(server.requests) == 1


@both
def test_the_number_of_attempts_is_bounded(call: Caller) -> None:
    with scripted(*[problem(503, "crowded")] * 3) as server, pytest.raises(Unavailable, match="503 it is so"):
        call(server.url, "healthz", patience=Patience(attempts=3, first_pause_seconds=0.001))
    assert len(server.requests) == 3


@both
@pytest.mark.parametrize("failure", [b"", problem(503, "crowded"), answer(200, b"{", length=50)])
def test_what_a_repeat_could_do_twice_is_sent_once(call: Caller, failure: bytes) -> None:
    with scripted(failure) as server, pytest.raises((NoAnswer, Unavailable)):
        call(server.url, "start_training", "t1")
    assert len(server.requests) == 1


@both
def test_a_connection_that_never_came_about_is_tried_again_for_any_request(call: Caller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NoAnswer, match=f"^http://127.0.0.1:{port} does not answer: Connect") as failed:
        call(f"http://127.0.0.1:{port}", "start_training", "t1")
    assert not failed.value.sent


@both
def test_a_training_is_created_once_since_each_attempt_has_the_same_key(call: Caller) -> None:
    with scripted(b"", problem(422, "invalid")) as server, pytest.raises(Invalid):
        call(server.url, "create_training", name="digits")
    first, second = (server.header(number, "Idempotency-Key") for number in (0, 1))
    assert first == second
    assert first is not None
    assert len(first) == 32
    assert server.requests[0] == server.requests[1]


@both
def test_a_key_of_the_callers_own_is_sent(call: Caller) -> None:
    with scripted(problem(422, "key-reused")) as server, pytest.raises(Invalid):
        call(server.url, "run_round", "t1", idempotency_key="mine")
    assert server.header(0, "Idempotency-Key") == "mine"


@both
@pytest.mark.parametrize("repeats", [0, 1])
def test_a_client_that_a_lost_attempt_has_removed_is_removed(call: Caller, repeats: int) -> None:
    with scripted(*[b""] * repeats, problem(404, "not-found")) as server:
        if repeats:
            assert call(server.url, "remove_client", "edge-1") is None
        else:
            with pytest.raises(NotFound, match="it is so") as refused:
                call(server.url, "remove_client", "edge-1")
            assert refused.value.kind == "not-found"
    assert len(server.requests) == 1 + repeats


@both
@pytest.mark.parametrize("body", [b"", b"{", b"[]", PAGE, b'{"status": "no"}', b"\xff\xfe", b"[" * 5000])
def test_what_is_no_answer_of_the_api_is_told_as_such(call: Caller, body: bytes) -> None:
    with scripted(answer(200, body, Content_Type="text/html")) as server, pytest.raises(UnexpectedAnswer) as unexpected:
        call(server.url, "healthz")
    assert "is not a Health" in str(unexpected.value)
    assert "text/html" in str(unexpected.value)


@both
@pytest.mark.parametrize("body", [PAGE, b"", b'{"detail": 7}', b"[" * 5000, b"[1]"])
def test_an_error_page_of_a_proxy_is_a_refusal_without_its_text(call: Caller, body: bytes) -> None:
    with scripted(answer(403, body, Content_Type="text/html")) as server, pytest.raises(Refused) as refused:
        call(server.url, "healthz")
    expected = f"403 Forbidden (the answer is not a problem document: text/html, {len(body)} bytes)"
    assert str(refused.value) == expected


@both
def test_an_encoding_that_was_not_asked_for_is_refused_before_it_is_expanded(call: Caller) -> None:
    with scripted(answer(200, b"x", Content_Encoding="gzip")) as server, pytest.raises(UnexpectedAnswer, match="gzip"):
        call(server.url, "healthz")
    assert server.header(0, "Accept-Encoding") == "identity"


@both
def test_a_refusal_shows_no_control_characters(call: Caller) -> None:
    with scripted(problem(409, "state-forbids", "a\x1b[31m\nb" + "c" * 10**5)) as server, pytest.raises(Conflict) as no:
        call(server.url, "healthz")
    assert str(no.value).isprintable()
    assert len(str(no.value)) < 3000


@both
def test_an_answer_that_is_too_long_is_not_read_to_its_end(call: Caller) -> None:
    endless = answer(200, b"x" * 200_000, length=10**12)
    with scripted(endless) as server, pytest.raises(UnexpectedAnswer, match="more than 1000 bytes"):
        call(server.url, "healthz", most=1000)
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "ä"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(kind: type, key: str) -> None:
    with pytest.raises(ValueError, match="the key should be visible ASCII") as refused:
        kind("http://127.0.0.1:1", key)
    assert not key or key not in str(refused.value)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "ftp://host", "http://a:b@host", "http://host?x=1", "http://[::"]
)
def test_a_url_that_is_none_of_a_server_is_refused(kind: type, url: str) -> None:
    with pytest.raises(ValueError, match="the server's URL"):
        kind(url, "key")


@both
def test_fields_are_checked_before_anything_is_sent(call: Caller) -> None:
    with pytest.raises(Invalid) as refused:
        call("http://127.0.0.1:9", "create_training", name="x", selection={"min_clients": 0}, colour="red")
    assert {field.pointer for field in refused.value.errors} == {"/selection/min_clients", "/colour"}
    assert refused.value.kind == "invalid"


@both
def test_a_body_that_is_no_model_is_refused_before_anything_is_sent(call: Caller) -> None:
    with pytest.raises(TypeError, match="pass a CreateTraining, or its fields by keyword, not a dict"):
        call("http://127.0.0.1:9", "create_training", {"name": "x"})


@pytest.mark.parametrize(
    ("part", "quoted"), [("a/b", "a%2Fb"), ("..", "%2E%2E"), ("a?b#c", "a%3Fb%23c"), ("edge-7.x", "edge-7.x"), (3, "3")]
)
def test_an_id_stays_one_segment_of_the_path(part: str | int, quoted: str) -> None:
    assert path("/v1/clients/{client_id}", part) == f"/v1/clients/{quoted}"


@both
@pytest.mark.parametrize("part", ["", "\ud800"])
def test_an_id_that_no_path_can_contain_is_refused_with_the_name_of_the_argument(call: Caller, part: str) -> None:
    with pytest.raises(Invalid, match=r"/path/training_id should (not be empty|be Unicode text)") as refused:
        call("http://127.0.0.1:9", "get_training", part)
    assert refused.value.errors[0].pointer == "/path/training_id"
    assert str(refused.value).isprintable()


@both
@pytest.mark.parametrize("method", ["train", "wait"])
def test_progress_that_nothing_would_await_is_refused_before_anything_is_sent(call: Caller, method: str) -> None:
    async def progress(_new: object) -> None: ...

    given = {"name": "x"} if method == "train" else {"training_id": "x"}
    with pytest.raises(TypeError, match="progress must be a plain function"):
        call("http://127.0.0.1:9", method, progress=progress, **given)


@both
@pytest.mark.parametrize("zone", ["99999999999999 00:00:00 GMT", "2030 00:00:00 +99999999999999"])
def test_a_date_that_no_clock_reaches_asks_for_no_pause(call: Caller, zone: str) -> None:
    with scripted(problem(503, "crowded", Retry_After=f"Mon, 01 Jan {zone}"), HEALTHY) as server:
        assert call(server.url, "healthz").status == "ok"


def test_a_client_refuses_to_work_in_a_forked_process() -> None:
    with scripted(HEALTHY) as server, Client(server.url) as client:
        child = os.fork()
        if child == 0:
            try:
                client.healthz()
            except RuntimeError as error:
                os._exit(7 if "make a new client after the fork" in str(error) else 1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert client.healthz().status == "ok"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_shows_its_server_and_never_its_key(kind: type[Client | AsyncClient]) -> None:
    client = kind("https://plane.example:8443/behind/", "the-secret-key")
    assert repr(client) == f"{kind.__name__}('https://plane.example:8443/behind')"
    assert "the-secret-key" not in repr(client.transport)


def test_the_address_of_a_server_is_shown_without_credentials() -> None:
    assert shown(httpx2.URL("http://user:secret@plane:8080/")) == "http://plane:8080"
