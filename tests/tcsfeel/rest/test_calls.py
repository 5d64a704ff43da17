"""Calls whose bodies are plain JSON, as agents, the command line and the demo make them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tcsfeel.rest.calls import all_items, call_json
from tcsfeel.rest.exchange import Patience
from tcsfeel.rest.problems import Unavailable, UnexpectedAnswer
from tcsfeel.rest.transport import BlockingTransport, base_url, headers
from tests.tcsfeel.client.servers import answer, scripted


def page(items: list[int], cursor: str | None) -> bytes:
    return answer(200, json.dumps({"items": items, "next_cursor": cursor}).encode())


@contextmanager
def transport(url: str) -> Iterator[BlockingTransport]:
    with httpx2.Client(base_url=base_url(url), headers=headers("key"), trust_env=False) as http:
        yield BlockingTransport(http, Patience(first_pause_seconds=0.001, longest_pause_seconds=0.001))


def test_a_list_is_read_to_its_end_though_a_page_is_empty() -> None:
    with scripted(page([1], "a"), page([], "b"), page([2], None)) as server, transport(server.url) as calls:
        assert calls.run(all_items("/v1/clients")) == [1, 2]
    assert b"?limit=1000&cursor=b " in server.requests[2]


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"items": []}', b"<html>", b"[" * 5000])
def test_what_is_no_page_is_told(body: bytes) -> None:
    with (
        scripted(answer(200, body)) as server,
        transport(server.url) as calls,
        pytest.raises(UnexpectedAnswer, match=r"not a page of a list|is not JSON"),
    ):
        calls.run(all_items("/v1/clients"))


def test_a_list_that_goes_round_in_circles_ends() -> None:
    with (
        scripted(page([1], "a"), page([1], "a")) as server,
        transport(server.url) as calls,
        pytest.raises(UnexpectedAnswer, match="same next_cursor twice"),
    ):
        calls.run(all_items("/v1/clients"))


def test_a_list_with_ever_new_cursors_and_no_items_ends() -> None:
    pages = [page([], str(number)) for number in range(101)]
    with (
        scripted(*pages) as server,
        transport(server.url) as calls,
        pytest.raises(UnexpectedAnswer, match="100 pages in a row had no items"),
    ):
        calls.run(all_items("/v1/clients"))


BUSY = answer(503, b'{"detail": "busy"}')


@pytest.mark.parametrize(("method", "given"), [("PUT", {}), ("POST", {"Idempotency-Key": "k"})])
def test_a_call_is_repeated_where_that_is_safe(method: str, given: dict[str, str]) -> None:
    with scripted(BUSY, answer(200, b'{"a": 1}')) as server, transport(server.url) as calls:
        assert calls.run(call_json(method, "/x", {"b": 2}, headers=given)) == {"a": 1}
    assert [request.partition(b"\r\n\r\n")[2] for request in server.requests] == [b'{"b": 2}'] * 2


def test_a_post_without_a_key_is_sent_once() -> None:
    with scripted(BUSY) as server, transport(server.url) as calls, pytest.raises(Unavailable, match="503 busy"):
        calls.run(call_json("POST", "/x", {"b": 2}))
    assert len(server.requests) == 1
