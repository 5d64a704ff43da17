"""Make answers that are wrong as HTTP: any status, and bodies that are missing, endless, cut or of another length."""

import asyncio
import socket
import struct

from tests.harnesses.hostile.exchange import PIECE, Conduct, Exchange

DRIP_SECONDS = 0.5
FLOOD = 200_000  # pieces of a flood, which are more than anyone should read


def status(line: str, *headers: str, body: bytes = b"") -> Conduct:
    """Send a whole answer with this status."""

    async def conduct(exchange: Exchange) -> None:
        await exchange.answer(line, body, *headers)

    return conduct


def raw(*pieces: bytes) -> Conduct:
    """Send these bytes, and close the connection."""

    async def conduct(exchange: Exchange) -> None:
        await exchange.send(*pieces)

    return conduct


def flood(begin: bytes, piece: bytes) -> Conduct:
    """Send a beginning, and then a piece again and again as fast as it is read."""

    async def conduct(exchange: Exchange) -> None:
        await exchange.send(begin)
        for _ in range(FLOOD):
            await exchange.send(piece)

    return conduct


def drip(begin: bytes, piece: bytes) -> Conduct:
    """Send a beginning, and then a piece from time to time."""

    async def conduct(exchange: Exchange) -> None:
        await exchange.send(begin)
        for _ in range(FLOOD):
            await exchange.send(piece)
            await asyncio.sleep(DRIP_SECONDS)

    return conduct


def silent(begin: bytes) -> Conduct:
    """Send a beginning, and then nothing, with the connection open."""

    async def conduct(exchange: Exchange) -> None:
        await exchange.send(begin)
        await asyncio.Event().wait()

    return conduct


async def reset(exchange: Exchange) -> None:
    """End the connection with a reset."""
    connection: socket.socket = exchange.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.writer.transport.abort()


async def short_result(exchange: Exchange) -> None:
    """Announce a whole result, and send half of it."""
    body = exchange.honest()
    await exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body[: len(body) // 2])


async def dripping_result(exchange: Exchange) -> None:
    """Send a correct result very slowly, ten bytes at a time."""
    body = exchange.honest()
    await exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    for start in range(0, len(body), 10):
        await exchange.send(body[start : start + 10])
        await asyncio.sleep(DRIP_SECONDS)


_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"

FRAMING: dict[str, Conduct] = {
    "100-and-nothing": silent(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "101": status("101 Switching Protocols", "Upgrade: tea", "Connection: upgrade"),
    "101-bare": raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    "102-flood": flood(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 500),
    "103-flood": flood(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 200),
    "204": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "205": status("205 Reset Content"),
    "206": status("206 Partial Content", "Content-Range: bytes 0-3/10", body=b"half"),
    "299": status("299 Whatever", body=b"x" * 1000),
    "301": status("301 Moved Permanently", "Location: http://169.254.169.254/latest/meta-data/"),
    "304": raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "307-to-itself": status("307 Temporary Redirect", "Location: ."),
    "401": status("401 Unauthorized", "WWW-Authenticate: Basic"),
    "418-terminal": status("418 \x1b[31mred\x1b[0m", body=b"\x1b]0;owned\x07\r\nforged log line level=info"),
    "429-for-ever": status("429 Too Many Requests", "Retry-After: 1e300"),
    "429-not-a-number": status("429 Too Many Requests", "Retry-After: nan"),
    "500-endless": flood(
        b"HTTP/1.1 500 Broken\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"e" * PIECE + b"\r\n"
    ),
    "500-json-bomb": status(
        "500 Broken", "Content-Type: application/problem+json", body=b'{"detail":' + b"[" * 100_000
    ),
    "503-html": status("503 Service Unavailable", body=b"<html><script>alert(1)</script>" * 50),
    "999": status("999 Beyond"),
    "000": raw(b"HTTP/1.1 000 \r\n\r\n"),
    "no-http": raw(b"220 smtp.example ESMTP\r\n"),
    "random-bytes": raw(bytes(range(256)) * 64),
    "hang": silent(b""),
    "hang-in-headers": silent(_OK + b"Content-Le"),
    "hang-in-body": silent(_OK + b"Content-Length: 4000\r\n\r\n"),
    "reset": reset,
    "close": raw(),
    "short-result": short_result,
    "dripping-result": dripping_result,
    "dripping-headers": drip(_OK, b"X: y\r\n"),
    "dripping-chunks": drip(_CHUNKED, b"1\r\nx\r\n"),
    "one-byte-chunks": flood(_CHUNKED, b"1\r\nx\r\n" * 1000),
    "endless-body": flood(_OK + b"\r\n", b"x" * PIECE),
    "endless-header": flood(_OK + b"X: ", b"x" * PIECE),
    "many-headers": flood(_OK, b"X: y\r\n" * 1000),
    "huge-length": silent(_OK + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "negative-length": raw(_OK + b"Content-Length: -1\r\n\r\n"),
    "two-lengths": raw(_OK + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"),
    "broken-chunk": raw(_CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n"),
    "endless-chunk-extension": flood(_CHUNKED + b"1;", b"e" * PIECE),
    "gzip": status("200 OK", "Content-Encoding: gzip", body=b"\x1f\x8b" + b"\0" * 100),
    "zstd-not-asked": status("200 OK", "Content-Encoding: zstd", body=b"\x28\xb5\x2f\xfd" + b"\0" * 100),
    "empty": status("200 OK"),
}
