"""The heads of responses: whatever is accepted, h11 accepts with the same meaning."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.tasks.heads import MOST_HEADERS, NotHttp, begins_like_http, read_fields, read_head

ODD = [
    b"HTTP/1.1  200 OK",
    b"HTTP/1.1 200 OK\nA: b",
    b"HTTP/1.1 200 OK\r",
    b"HTTP/2.0 200 OK",
    b"HTTP/1.2 200 OK",
    b"http/1.1 200 OK",
    b"HTTP/1.1 099 No",
    b"HTTP/1.1 101 Switching Protocols",
    b"HTTP/1.1 +20 OK",
    b"HTTP/1.1 200 O\x00K",
    b"HTTP/1.1 200 OK\r\nA : b",
    b"HTTP/1.1 200 OK\r\n: b",
    b"HTTP/1.1 200 OK\r\nA",
    b"HTTP/1.1 200 OK\r\nA: b\r\n c",
    b"HTTP/1.1 200 OK\r\nA: b\x0bc",
    b"HTTP/1.1 200 OK\r\nA\xe9: b",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5",
    b"HTTP/1.1 200 OK\r\nContent-Length: +5",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0x5",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5_0",
    b"HTTP/1.1 200 OK\r\nContent-Length: \xb2",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000000",
    b"HTTP/1.1 200 OK\r\nContent-Length:",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
    b"HTTP/1.1 200 OK" + b"\r\na: b" * (MOST_HEADERS + 1),
]


@pytest.mark.parametrize("text", ODD)
def test_a_head_that_is_odd_is_refused(text: bytes) -> None:
    with pytest.raises(NotHttp):
        read_head(text)


def test_fields_are_read_without_the_blanks_around_them() -> None:
    assert read_fields([b"A: \t b c \t", b"a:d", b"E:"]) == {"a": "b c, d", "e": ""}
    assert read_fields([]) == {}


def test_a_head_is_read() -> None:
    head = read_head(b"HTTP/1.1 429 Too Many\r\nRetry-After:  7\t\r\nconnection: a, Close\r\nX: 1\r\nx: \xe92\r\nE:")
    assert (head.status, head.length, head.chunked, head.keeps, head.is_interim) == (429, None, False, False, False)
    assert head.headers == {"retry-after": "7", "connection": "a, Close", "x": "1, é2", "e": ""}
    assert read_head(b"HTTP/1.1 102").is_interim


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body_whatever_their_head_says(status: int) -> None:
    for said in (b"", b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: chunked"):
        head = read_head(b"HTTP/1.1 %d No" % status + said)
        assert (head.length, head.chunked) == (0, False)


@pytest.mark.parametrize(
    ("beginning", "like"),
    [(b"", True), (b"HT", True), (b"HTTP/1.", True), (b"HTTP/1.1 2", True), (b"HTTP/2", False), (b"x", False)],
)
def test_what_does_not_begin_like_http_is_known_at_once(beginning: bytes, like: bool) -> None:
    assert begins_like_http(beginning) == like


NAMES = ["Content-Length", "Transfer-Encoding", "Connection", "Content-Type", "X", "x", "Bad Name", "", "a:b"]
VALUES = [
    "5",
    "0",
    "5, 5",
    "chunked",
    "Chunked",
    "gzip",
    "close",
    "keep-alive, CLOSE",
    "",
    " ",
    "é",
    "a\tb",
    "a\x00",
    "²",
]
LINES = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from([":", ": ", ":\t ", " :", ""]),
    st.sampled_from(VALUES) | st.text(st.characters(max_codepoint=255), max_size=6),
    st.sampled_from(["", " ", "\t"]),
).map("".join)
STATUS_LINES = st.sampled_from(
    ["HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 204 No", "HTTP/1.1 304", "HTTP/1.1 200", "HTTP/1.1 999 \xff"]
)


@settings(max_examples=400, deadline=None)
@given(STATUS_LINES, st.lists(LINES, max_size=4))
def test_whatever_is_accepted_h11_accepts_with_the_same_meaning(status_line: str, lines: list[str]) -> None:
    text = "\r\n".join([status_line, *lines]).encode("latin-1")
    try:
        head = read_head(text)
    except NotHttp:
        return
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(text + b"\r\n\r\n")
    other = peer.next_event()
    assert isinstance(other, h11.Response)
    assert other.status_code == head.status
    theirs: dict[str, str] = {}
    for name, value in other.headers:
        key = name.decode()
        theirs[key] = f"{theirs[key]}, {value.decode('latin-1')}" if key in theirs else value.decode("latin-1")
    ours = dict(head.headers)
    if "transfer-encoding" in ours:
        ours["transfer-encoding"] = ours["transfer-encoding"].lower()
    assert theirs == ours
    is_empty = isinstance(peer.next_event(), h11.EndOfMessage)
    assert is_empty == (head.length == 0)
    if is_empty:
        assert (peer.their_state is h11.DONE) == head.keeps
