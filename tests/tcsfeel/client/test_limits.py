"""What a client does with answers that have no end, come too slowly, or belong to another event loop."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import httpx2
import numpy as np
import pytest

from tcsfeel.client import AsyncClient, Client, Conflict, NoAnswer, NotDone, Patience
from tcsfeel.rest import collected, transport
from tests.tcsfeel.client.callers import Caller, blocking, both
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
def serving(listening: socket.socket, serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that serves one connection in a thread, until the event says that it is to end; gives its address."""
    left = threading.Event()

    def accept() -> None:
        connection, _ = listening.accept()
        with connection:
            serve(connection, left)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        left.set()
        thread.join()


@contextmanager
def repeating(piece: bytes) -> Iterator[str]:
    """A server that begins each answer by sending the piece again and again, without an end."""

    def serve(connection: socket.socket, left: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: " if piece == b"x" else b"")
        with suppress(OSError):  # the client has given up
            while not left.wait(0.02):
                connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listening, serving(listening, serve) as url:
        yield url


@both
@pytest.mark.parametrize("piece", [b"x", b"HTTP/1.1 103 Early\r\n\r\n"], ids=["dripping", "early"])
def test_a_head_that_never_ends_is_given_up(call: Caller, piece: bytes) -> None:
    with repeating(piece) as url, pytest.raises(NoAnswer, match=rf"{url} (did not arrive within|failed: \w*Timeout)"):
        call(url, "healthz", patience=IMPATIENT)


@contextmanager
def dripping() -> Iterator[str]:
    """A server that reads a request slowly, but never pauses for long."""

    def serve(connection: socket.socket, left: threading.Event) -> None:
        while not left.wait(0.02) and connection.recv(4096):
            pass

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with serving(listening, serve) as url:
            yield url


def test_a_server_that_receives_an_upload_too_slowly_is_given_up() -> None:
    """Only with `Client`: asyncio keeps the socket of `AsyncClient` open for bytes that were not sent yet."""
    model = {"w": np.zeros(4_000_000)}
    with dripping() as url, pytest.raises(NoAnswer, match=rf"{url} failed: WriteTimeout"):
        blocking(url, "upload_model", "t1", model, patience=IMPATIENT)


class OwnNetwork(httpx2.BaseTransport):
    """A transport that a caller brings along. It knows no time limit for a whole exchange."""

    def __init__(self, now: list[float], answer_seconds: float) -> None:
        self._now = now
        self._answer_seconds = answer_seconds

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        assert isinstance(request.stream, httpx2.SyncByteStream)
        for _ in request.stream:
            self._now[0] += 20.0
        return httpx2.Response(200, content=self._body())

    def _body(self) -> Iterator[bytes]:
        self._now[0] += self._answer_seconds
        yield b'{"round": 0, "sha256": "a", "parent": null, "size": 1, "created_at": 1.0}'


@pytest.mark.parametrize("answer_seconds", [5.0, 35.0])
def test_an_upload_that_takes_long_leaves_the_usual_time_for_its_answer(
    answer_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    for module in (transport, collected):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    patience = Patience(attempts=1, timeout_seconds=30.0)
    with Client("http://plane", patience=patience, transport=OwnNetwork(now, answer_seconds)) as client:
        if answer_seconds < patience.timeout_seconds:
            assert client.upload_model("t1", {"w": np.zeros(400_000)}).round == 0
        else:
            with pytest.raises(NoAnswer, match="took too long to arrive"):
                client.upload_model("t1", {"w": np.zeros(400_000)})
    assert now[0] > 100.0 + patience.timeout_seconds + answer_seconds  # the upload alone took longer than an attempt


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
