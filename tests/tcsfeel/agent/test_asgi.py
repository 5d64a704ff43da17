"""The agent's own part of ASGI: what it reads of a request, and what it sends."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import pytest

from tcsfeel.agent.asgi import Disconnected, Message, Request, Response, Scope


def request(*messages: Message, headers: Iterable[tuple[bytes, bytes]] = (), query: bytes = b"") -> Request:
    coming = iter(messages)

    async def receive() -> Message:
        return next(coming)

    scope: Scope = {"type": "http", "method": "PUT", "path": "/", "headers": list(headers), "query_string": query}
    return Request(scope, receive)


def piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def sent(response: Response) -> list[Message]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Any:
        raise AssertionError("an answer reads nothing")

    await response({}, receive, send)
    return messages


def test_the_first_header_of_a_name_counts_in_whatever_case_it_comes() -> None:
    asked = request(headers=[(b"Accept-Encoding", b"zstd"), (b"accept-encoding", b"gzip"), (b"x", b"\xff")])

    assert asked.header("accept-encoding") == "zstd"
    assert asked.header("x") == "\xff"
    assert asked.header("authorization") == ""


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (b"", "none"),
        (b"wait=1&wait=2", "2"),
        (b"wait=", ""),
        (b"wait", ""),
        (b"wait=%31%2e5", "1.5"),
        (b"wait=%ff", "�"),
        (b"\xff=1&more=2", "none"),
    ],
)
def test_the_last_value_of_a_query_parameter_counts(query: bytes, value: str) -> None:
    assert request(query=query).parameter("wait", "none") == value


async def test_a_body_comes_in_its_pieces_without_the_empty_ones() -> None:
    coming = request(piece(b"ab", more=True), piece(b"", more=True), {"type": "http.request", "body": b"c"})

    assert [part async for part in coming.body()] == [b"ab", b"c"]


async def test_a_caller_that_goes_away_within_its_body_is_told_from_one_that_has_sent_it() -> None:
    coming = request(piece(b"ab", more=True), {"type": "http.disconnect"})
    body = coming.body()

    assert await anext(body) == b"ab"
    with pytest.raises(Disconnected):
        await anext(body)


async def test_an_answer_names_its_length_and_can_be_sent_again() -> None:
    response = Response(HTTPStatus.NOT_FOUND, b"{}", "application/json", {"Retry-After": "1"})

    for _ in range(2):
        start, body = await sent(response)
        assert start["status"] == 404
        assert dict(start["headers"]) == {
            b"retry-after": b"1",
            b"content-type": b"application/json",
            b"content-length": b"2",
        }
        start["headers"].clear()  # as a server or a middleware may
        assert body == {"type": "http.response.body", "body": b"{}", "more_body": False}


async def test_an_answer_without_content_names_no_length() -> None:
    start, body = await sent(Response(HTTPStatus.NO_CONTENT))

    assert (start["status"], start["headers"], body["body"]) == (204, [], b"")
