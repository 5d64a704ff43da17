"""Asking for tasks and delivering results, over REST."""

import httpx2
import pytest

from tcsfeel.client import Client, UnexpectedAnswer
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest


def client(answer: httpx2.Response) -> Client:
    return Client("http://plane", "key", transport=httpx2.MockTransport(lambda _: answer))


def test_a_task_comes_with_its_id() -> None:
    headers = {"Tcsfeel-Task": "t.1.c.fit", CONTENT_DIGEST: written_digest(digest_of([b"body"]))}
    found = client(httpx2.Response(200, content=b"body", headers=headers)).next_task("c", wait=0)
    assert (found.task_id, bytes(found.body)) == ("t.1.c.fit", b"body")


def test_without_a_task_the_answer_says_when_to_ask_again_and_what_is_unwanted() -> None:
    headers = {"Retry-After": "12", "Tcsfeel-Unwanted": "t.1.c.fit, t.2.c.fit"}
    found = client(httpx2.Response(204, headers=headers)).next_task("c", wait=0)
    assert (found.task_id, found.retry_after, found.unwanted) == ("", 12.0, ("t.1.c.fit", "t.2.c.fit"))
    later = client(httpx2.Response(204, headers={"Retry-After": "99999999"})).next_task("c", wait=0)
    assert later.retry_after == 3600.0


def test_a_task_that_is_corrupted_or_too_long_is_not_taken() -> None:
    headers = {"Tcsfeel-Task": "t.1.c.fit", CONTENT_DIGEST: written_digest(digest_of([b"other"]))}
    with pytest.raises(UnexpectedAnswer, match="corrupted on the way"):
        client(httpx2.Response(200, content=b"body", headers=headers)).next_task("c", wait=0)
    with pytest.raises(UnexpectedAnswer, match="more than 3 bytes"):
        client(httpx2.Response(200, content=b"body", headers=headers)).next_task("c", wait=0, max_bytes=3)


def test_a_result_is_sent_in_pieces_with_its_digest() -> None:
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        request.read()
        sent.append(request)
        return httpx2.Response(204)

    http = Client("http://plane", "key", transport=httpx2.MockTransport(answer))
    http.put_result("c", "t.1.c.fit", [b"head", memoryview(b"block")])
    (request,) = sent
    assert (request.method, request.url.path, request.content) == (
        "PUT", "/v1/clients/c/tasks/t.1.c.fit/result", b"headblock",
    )  # fmt: skip
    assert request.headers[CONTENT_DIGEST] == written_digest(digest_of([b"headblock"]))
