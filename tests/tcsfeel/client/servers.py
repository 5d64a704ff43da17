"""A server on a real socket that answers one request after the other with prepared bytes, and hangs up after each."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Answer = bytes | Callable[[bytes], bytes]


@dataclass
class Scripted:
    """What was asked, each request as its bytes."""

    url: str
    requests: list[bytes] = field(default_factory=list)

    def header(self, number: int, name: str) -> str | None:
        """A header of a request."""
        for line in self.requests[number].split(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name.lower():
                return value
        return None


def answer(status: int, body: bytes = b"", length: int | None = None, **headers: str) -> bytes:
    """An answer; `length` is what it claims, where that differs from what comes."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def scripted(*answers: Answer) -> Iterator[Scripted]:
    """Give each connection the next answer; empty bytes hang up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = Scripted(f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread = threading.Thread(target=_serve, args=(listening, found, answers))
        thread.start()
        try:
            yield found
        finally:
            with socket.create_connection(listening.getsockname()):  # ends what still waits for a caller
                listening.settimeout(0.01)
            thread.join()


def _serve(listening: socket.socket, found: Scripted, answers: tuple[Answer, ...]) -> None:
    for prepared in answers:
        connection, _ = listening.accept()
        with connection:
            request = _request(connection)
            if not request:
                return
            found.requests.append(request)
            connection.sendall(prepared(request) if callable(prepared) else prepared)


def _request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received or len(received) < _size(received):
        piece = connection.recv(65_536)
        if not piece:
            return received
        received += piece
    return received


def _size(received: bytes) -> int:
    head, _, _ = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(head) + 4 + (int(lengths[0].partition(b":")[2]) if lengths else 0)
