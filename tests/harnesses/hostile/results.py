"""Make answers that are correct HTTP with a hostile result."""

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.harnesses.hostile.exchange import PIECE, Conduct, Exchange

Make = Callable[[Exchange], bytes]

HEADER_BYTES = 90_000_000
EXTRA_BYTES = 200_000_000


def result(make: Make) -> Conduct:
    """Answer 200 with the result of `make`."""

    async def conduct(exchange: Exchange) -> None:
        await exchange.answer("200 OK", make(exchange))

    return conduct


def stream(size: int, begin: Make, piece: bytes) -> Conduct:
    """Answer 200 with `size` bytes that are never completely in memory here."""

    async def conduct(exchange: Exchange) -> None:
        first = begin(exchange)
        await exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode(), first)
        left = size - len(first)
        while left > 0:
            await exchange.send(piece[:left])
            left -= len(piece)

    return conduct


def _file(header: bytes, block: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + block


def _said(**facts: Any) -> Make:
    return lambda exchange: exchange.result(exchange.parameters(), **facts)


def _moved(change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Make:
    return lambda exchange: exchange.result({name: change(value) for name, value in exchange.parameters().items()})


def _named(*names: str) -> Make:
    return lambda exchange: exchange.result({name: np.zeros(3, np.float32) for name in names})


def _metadata(text: str, **more: str) -> Make:
    return lambda _: _file(json.dumps({"__metadata__": {"result": text, **more}}).encode())


def _filled(value: float) -> Make:
    return _moved(lambda tensor: np.full_like(tensor, value))


_FACTS = '{"num_examples": 10, "loss": 0.5, "accuracy": 0.5}'

FIT_RESULTS: dict[str, Conduct] = {
    "90-mb-header-of-lists": stream(
        HEADER_BYTES, lambda _: struct.pack("<Q", HEADER_BYTES - 8) + b'{"w":[', b"[]," * 20_000
    ),
    "90-mb-header-of-keys": stream(
        HEADER_BYTES, lambda _: struct.pack("<Q", HEADER_BYTES - 8) + b"{", b'"k":0,' * 10_000
    ),
    "deep-header": result(lambda _: _file(b'{"w":' + b"[" * 500_000)),
    "header-beyond-the-file": result(lambda _: struct.pack("<Q", 2**63) + b"{}"),
    "200-mb-for-4-kb": stream(EXTRA_BYTES, lambda exchange: exchange.honest(), b"\0" * PIECE),
    "nan": result(_filled(float("nan"))),
    "infinite": result(_filled(float("inf"))),
    "finite-1e30": result(_filled(1e30)),
    "finite-largest": result(_filled(3.4e38)),
    "other-shape": result(_moved(lambda tensor: tensor[:1])),
    "other-dtype": result(_moved(lambda tensor: tensor.astype(np.float64))),
    "terminal-in-a-name": result(_named("\x1b[2J\x1b[1;31mw", "line\r\nlevel=info forged")),
    "nul-in-a-name": result(_named("a\0b")),
    "surrogate-in-a-name": result(
        lambda _: _file(b'{"\\ud800": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}')
    ),
    "name-of-a-megabyte": result(lambda _: _file(json.dumps({"n" * 1_000_000: {}}).encode())),
    "huge-integer": result(_metadata('{"num_examples": 1' + "0" * 400 + ', "loss": 0.5, "accuracy": 0.5}')),
    "examples-10-to-the-18": result(_said(num_examples=10**18)),
    "examples-0": result(_said(num_examples=0)),
    "examples-negative": result(_said(num_examples=-5)),
    "loss-1.7e308": result(_said(loss=1.7e308)),
    "loss-nan": result(_said(loss=float("nan"))),
    "accuracy-2": result(_said(accuracy=2.0)),
    "facts-of-another-type": result(_metadata('{"num_examples": "10", "loss": [], "accuracy": null}')),
    "facts-deep": result(_metadata('{"num_examples": ' + "[" * 50_000)),
    "facts-missing": result(lambda _: _file(b"{}")),
    "nul-in-a-scale": result(_metadata(_FACTS, update_encoding=json.dumps({"name": "int8", "scales": {"a\0b": 1.0}}))),
    "scales-by-the-million": result(
        _metadata(_FACTS, update_encoding=json.dumps({"name": "int8", "scales": {str(n): 1.0 for n in range(200_000)}}))
    ),
    "not-offered": result(_metadata(_FACTS, update_encoding='{"name": "float16"}')),
    "a-key-twice": result(lambda _: _file(b'{"w": 1, "w": 2}')),
}

EVALUATE_RESULTS: dict[str, Conduct] = {
    "evaluate-nan": result(_said(loss=float("nan"))),
    "evaluate-loss-1.7e308": result(_said(loss=1.7e308)),
    "evaluate-accuracy-1e9": result(_said(accuracy=1e9)),
    "evaluate-examples-0": result(_said(num_examples=0)),
    "evaluate-examples-10-to-the-18": result(_said(num_examples=10**18, accuracy=0.999)),
    "evaluate-90-mb-header": FIT_RESULTS["90-mb-header-of-lists"],
    "evaluate-200-mb": FIT_RESULTS["200-mb-for-4-kb"],
}

MODEL_RESULTS: dict[str, Conduct] = {
    "model-90-mb-header": FIT_RESULTS["90-mb-header-of-lists"],
    "model-not-finite": result(
        lambda _: _file(json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode(), b"\xff" * 4)
    ),
    "model-empty": result(lambda _: b""),
}
