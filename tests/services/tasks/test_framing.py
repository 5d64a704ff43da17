"""The ends of bodies: whatever is accepted, h11 accepts with the same meaning."""

from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.tasks.framing import CRUMBS, Chunked, Crumbs, Endless, Framing, Sized, framing_of
from app.services.tasks.heads import NotHttp, read_head


def decoded(framing: Framing, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """What a body is, and what comes after it."""
    buffer = memoryview(bytearray(sum(map(len, pieces))))
    at = end = 0
    for piece in pieces:
        buffer[end : end + len(piece)] = piece
        end += len(piece)
        at, end = framing.decode(buffer, at, end)
        while not framing.wanted(1) and not framing.is_over:
            at, end = framing.decode(buffer, at, end)
    return bytes(buffer[:at]), bytes(buffer[at:end])


def split(text: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:stop] for start, stop in pairwise(borders)]


def test_the_head_says_how_a_body_ends() -> None:
    assert isinstance(framing_of(read_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")), Chunked)
    assert isinstance(framing_of(read_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5")), Sized)
    assert isinstance(framing_of(read_head(b"HTTP/1.1 200 OK")), Endless)


def test_a_body_of_a_known_length_ends_there() -> None:
    framing = Sized(5)
    assert decoded(framing, [b"hel", b"lo!"]) == (b"hello", b"!")
    assert framing.is_over
    assert not Sized(5).is_over
    assert Sized(0).is_over
    assert (Sized(5).wanted(3), Sized(5).wanted(9)) == (3, 5)


def test_a_body_without_a_length_has_no_end_of_its_own() -> None:
    framing = Endless()
    assert decoded(framing, [b"hel", b"lo"]) == (b"hello", b"")
    assert (framing.is_over, framing.ends_with_connection, framing.wanted(9)) == (False, True, 9)


@pytest.mark.parametrize("cuts", [[], *[[cut] for cut in range(1, 60)], list(range(60))])
def test_chunks_are_put_together_wherever_they_are_cut(cuts: list[int]) -> None:
    text = b'5\r\nhello\r\n00b;name="x"\r\n, beautiful\r\n0;last \r\nA: b\r\nC:\r\n\r\nmore'
    framing = Chunked()
    assert decoded(framing, split(text, cuts)) == (b"hello, beautiful", b"more")
    assert framing.is_over


@pytest.mark.parametrize(
    "text",
    [
        b"x\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5;\x00\r\nhello\r\n",
        b"1" * 16 + b"\r\n",
        b"5\r\nhello!\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"0" * 300,
        b"5;" + b"x" * 300,
        b"0\r\nno header\r\n\r\n",
        b"0\r\nA: " + b"x" * 5000,
        b"0\r\n" + b"a: b\r\n" * 300,
        b"5\r\nhello" + b"x" * 300,
    ],
)
def test_chunks_that_are_odd_are_refused(text: bytes) -> None:
    with pytest.raises(NotHttp):
        decoded(Chunked(), [text])


def test_chunks_may_be_small_as_long_as_they_are_few() -> None:
    few = b"1\r\nx\r\n" * (CRUMBS - 1) + b"0\r\n\r\n"
    assert decoded(Chunked(), [few]) == (b"x" * (CRUMBS - 1), b"")
    with pytest.raises(Crumbs, match="in pieces of less than 16 bytes"):
        decoded(Chunked(), [b"1\r\nx\r\n" * (CRUMBS + 2)])


def test_many_chunks_are_decoded_in_steps() -> None:
    text = b"10\r\n0123456789abcdef\r\n" * (CRUMBS + 1)
    framing, buffer = Chunked(), memoryview(bytearray(text))
    at, end = framing.decode(buffer, 0, len(text))
    assert (at, framing.wanted(100)) == ((CRUMBS - 1) * 16, 0)
    assert framing.decode(buffer, at, end) == ((CRUMBS + 1) * 16, (CRUMBS + 1) * 16)
    assert framing.wanted(100) == 1


PARTS = st.sampled_from(
    [
        b"5\r\nhello\r\n",
        b"A\r\n0123456789\r\n",
        b"0\r\n",
        b"\r\n",
        b"1;a=b\r\nx\r\n",
        b"A: b\r\n",
        b"x",
        b"5",
        b"\n",
        b" ",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PARTS, max_size=8).map(b"".join), st.lists(st.integers(0, 99), max_size=4))
def test_whatever_is_accepted_h11_accepts_with_the_same_meaning(text: bytes, cuts: list[int]) -> None:
    framing = Chunked()
    try:
        body, rest = decoded(framing, split(text, cuts))
    except NotHttp:
        return
    if not framing.is_over:
        return
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + text)
    theirs = b""
    while not isinstance(event := peer.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Response | h11.Data)
        theirs += event.data if isinstance(event, h11.Data) else b""
    assert (theirs, peer.trailing_data[0]) == (body, rest)
