"""What a client does with answers that have no end, come too slowly, or belong to another event loop."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tcsfeel.client import AsyncClient, Conflict, NoAnswer, NotDone, Patience
from tests.tcsfeel.client.callers import Caller, both
from tests.tcsfeel.client.servers import answer, scripted

HEALTHY = answer(200, b'{"status": "ok"}')
IMPATIENT = Patience(attempts=1, timeout_seconds=0.2)


@both
@pytest.mark.parametrize("most", [1000, 10**9])
def test_a_refusal_that_is_too_long_is_still_a_refusal(call: Caller, most: int) -> None:
    endless = answer(409, b"x" * 2_000_000, length=10**12)
    with scripted(endless) as server, pytest.raises(Conflict, match="409 Conflict") as refused:
        call(server.url, "healthz", most=most)
    assert len(refused.value.detail) < 200


@both
def test_a_refusal_in_an_encoding_that_was_not_asked_for_is_still_a_refusal(call: Caller) -> None:
    encoded = answer(409, b"\x1f\x8bnot really gzip", None, Content_Encoding="gzip")
    with scripted(encoded) as server, pytest.raises(Conflict, match="409 Conflict"):
        call(server.url, "healthz")


@contextmanager
def repeating(piece: bytes) -> Iterator[str]:
    """A server that begins each answer by sending the piece again and again, without an end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        left = threading.Event()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: " if piece == b"x" else b"")
                try:
                    while not left.wait(0.02):
                        connection.sendall(piece)
                except OSError:
                    pass  # the client has given up

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            left.set()
            thread.join()


@both
@pytest.mark.parametrize("piece", [b"x", b"HTTP/1.1 103 Early\r\n\r\n"], ids=["dripping", "early"])
def test_a_head_that_never_ends_is_given_up(call: Caller, piece: bytes) -> None:
    with repeating(piece) as url, pytest.raises(NoAnswer, match=r"did not arrive within|Timeout"):
        call(url, "healthz", patience=IMPATIENT)


@both
def test_waiting_ends_after_its_timeout_although_the_server_does_not_answer(call: Caller) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(NotDone, match=r"the training t1 could not be read within 0\.1 s"),
    ):
        call(
            f"http://127.0.0.1:{silent.getsockname()[1]}",
            "wait",
            "t1",
            timeout_seconds=0.1,
            patience=Patience(attempts=1, timeout_seconds=60),
        )


def test_a_client_refuses_to_work_in_a_second_event_loop() -> None:
    with scripted(HEALTHY) as server:
        client = AsyncClient(server.url)
        assert asyncio.run(client.healthz()).status == "ok"  # type: ignore[arg-type]  # it is a coroutine
        for call in (client.healthz, client.aclose):
            with pytest.raises(RuntimeError, match="make a new client in each event loop"):
                asyncio.run(call())  # type: ignore[arg-type]  # as above
