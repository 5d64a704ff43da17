"""Each step of an exchange gets only the time that is left for the whole of it."""

from types import SimpleNamespace

import httpcore2
import pytest

from tcsfeel.rest import deadlines
from tcsfeel.rest.deadlines import STEP_BYTES, Deadline

PATIENT = 30.0


class SlowStream(httpcore2.NetworkStream):
    """A connection whose every step takes 10 seconds."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sent = b""
        self.timeouts: list[float | None] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        assert max_bytes
        self._step(timeout)
        return b"x"

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._step(timeout)
        self.sent += buffer

    def _step(self, timeout: float | None) -> None:
        self.timeouts.append(timeout)
        self.now += 10.0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowStream:
    stream = SlowStream()
    monkeypatch.setattr(deadlines, "time", SimpleNamespace(monotonic=lambda: stream.now))
    return stream


def test_reads_end_at_the_deadline(slow: SlowStream) -> None:
    deadline = Deadline()
    stream = deadlines._Stream(slow, deadline)
    deadline.at = 125.0
    assert b"".join(stream.read(1, PATIENT) for _ in range(3)) == b"xxx"
    with pytest.raises(httpcore2.ReadTimeout, match="the answer took too long to arrive"):
        stream.read(1, PATIENT)
    assert slow.timeouts == [25.0, 15.0, 5.0]


def test_writes_end_at_the_deadline_within_a_piece(slow: SlowStream) -> None:
    deadline = Deadline()
    stream = deadlines._Stream(slow, deadline)
    deadline.at = 125.0
    with pytest.raises(httpcore2.WriteTimeout, match="the server took too long to receive the request"):
        stream.write(bytes(10 * STEP_BYTES), PATIENT)
    assert slow.timeouts == [25.0, 15.0, 5.0]


def test_without_a_deadline_everything_is_sent_with_the_limit_of_a_step(slow: SlowStream) -> None:
    data = bytes(range(256)) * (STEP_BYTES // 64) + b"the rest"
    deadlines._Stream(slow, Deadline()).write(data, PATIENT)
    assert slow.sent == data
    assert set(slow.timeouts) == {PATIENT}
