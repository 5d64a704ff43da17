"""Heads that are parsed at once, compared with what h11 makes of the same bytes."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.heads import MOST_BODY_BYTES, usual_head

USUAL = b"POST /v1/clients/a%20b/heartbeat?x=1 HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nConnection: Keep-Alive\r\n"

UNUSUAL = [
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 2",
    b"Content-Length: 2\r\nContent-Length: 2",
    b"Content-Length: 2\r\nContent-Length: 3",
    b"Content-Length: 2, 2",
    b"Content-Length: +2",
    b"Content-Length: -2",
    b"Content-Length: 0x2",
    b"Content-Length: 2 2",
    b"Content-Length:",
    b"Content-Length: " + str(MOST_BODY_BYTES + 1).encode(),
    b"Content-Length: 0000000000002",
    b"Host: b",
    b"Expect: 100-continue",
    b"Upgrade: websocket\r\nConnection: Upgrade",
    b"Connection: close",
    b"Connection: keep-alive, upgrade",
    b"X: folded\r\n line",
    b"X: a\rb",
    b"X: a\nContent-Length: 5",
    b"X : space before the colon",
    b" X: space before the name",
    b"X: \x00",
    b"X: \xff",
    b"X\xff: a",
    b"no colon",
    b": no name",
]

REQUEST_LINES = [
    b"GET / HTTP/1.0",
    b"GET / HTTP/1.2",
    b"GET  / HTTP/1.1",
    b"GET\t/ HTTP/1.1",
    b"GET /\x7f HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b" GET / HTTP/1.1",
    b"get / HTTP/1.1",
    b"HEAD / HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1",
    b"GET http://b/ HTTP/1.1",
    b"\r\nGET / HTTP/1.1",
    b"PRI * HTTP/2.0",
]

WIRE = st.sampled_from(
    [
        b"GET", b"POST", b"HEAD", b" ", b"/", b"a", b"%0d%0a", b"?", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\n", b"\r",
        b":", b"\t", b"Host", b"content-length", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"chunked", b"0",
        b"12", b",", b";", b"\x00", b"Connection", b"close", b"keep-alive", b"Expect: 100-continue", b"\x80", b"\x0b",
        b"\x7f", b"abc",
    ]
)  # fmt: skip
LINES = st.lists(st.lists(WIRE, max_size=5).map(b"".join) | st.sampled_from([b"Host: a", *UNUSUAL]), max_size=5)


def by_h11(received: bytes) -> h11.Request | None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(received)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    return event if isinstance(event, h11.Request) else None


def test_a_usual_head_is_parsed_with_its_lengths() -> None:
    received = USUAL + b"Content-Length:  2\t\r\n\r\n{}GET"
    head = usual_head(received)
    assert head is not None
    assert (head.method, head.path) == ("POST", ("/v1/clients/a b/heartbeat", b"/v1/clients/a%20b/heartbeat", b"x=1"))
    assert head.headers == [
        (b"host", b"a"),
        (b"x-empty", b""),
        (b"connection", b"Keep-Alive"),
        (b"content-length", b"2"),
    ]
    assert received[head.size :][: head.body_bytes] == b"{}"


@pytest.mark.parametrize("lines", UNUSUAL)
def test_what_could_be_read_in_two_ways_is_left_to_h11(lines: bytes) -> None:
    assert usual_head(USUAL + b"\r\n") is not None
    assert usual_head(USUAL + lines + b"\r\n\r\n") is None


@pytest.mark.parametrize("line", REQUEST_LINES)
def test_an_unusual_request_line_is_left_to_h11(line: bytes) -> None:
    assert usual_head(line + b"\r\nHost: a\r\n\r\n") is None


def test_a_head_without_its_end_or_with_bare_line_feeds_is_left_to_h11() -> None:
    assert usual_head(USUAL) is None
    assert usual_head(USUAL.replace(b"\r\n", b"\n") + b"\n") is None
    assert usual_head(b"GET / HTTP/1.1\r\n\r\n") is None, "a head without a host"
    assert usual_head(USUAL + b"X: " + b"a" * 16_384 + b"\r\n\r\n") is None, "a head that is too long"


@given(target=st.lists(WIRE, max_size=4).map(b"".join), lines=LINES)
def test_no_head_means_something_else_than_with_h11(target: bytes, lines: list[bytes]) -> None:
    """An attacker gains nothing from two parsers: where the quick one gives an answer, h11 gives the same."""
    received = b"\r\n".join([b"POST /" + target + b" HTTP/1.1", b"Host: a", *lines, b"", b"rest"])
    head = usual_head(received)
    if head is None:
        return
    found = by_h11(received)
    assert found is not None
    assert (head.method.encode(), head.target) == (found.method, found.target)
    assert head.headers == [(name, value) for name, value in found.headers]
    assert (b"transfer-encoding" in dict(found.headers)) is False
    assert head.body_bytes == int(dict(found.headers).get(b"content-length", b"0"))
    assert received[: head.size].endswith(b"\r\n\r\n")
