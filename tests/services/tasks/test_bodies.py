"""The body of a task, which is hashed once and sent as often as needed."""

import pytest

from app.services.tasks.bodies import Sent, TaskBody
from app.turns import Turns
from tcsfeel.wire.digests import digest_of, written_digest


@pytest.mark.parametrize("size", [0, 5, 3 << 20])
async def test_a_body_is_named_by_its_bytes_and_sent_whole_each_time(size: int) -> None:
    body = TaskBody(b"head", memoryview(bytes(range(256)) * (size // 256 + 1))[:size])
    whole = body.header + bytes(body.block)
    assert len(body) == len(whole)
    assert await body.digest() == written_digest(digest_of([whole]))
    assert await body.digest() is await body.digest()
    for _ in range(2):
        assert b"".join([bytes(piece) async for piece in Sent(body, Turns())]) == whole
