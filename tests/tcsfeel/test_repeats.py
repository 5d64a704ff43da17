"""Log lines that come again and again."""

import io
import logging

import pytest

from tcsfeel.repeats import ALIKE_LINES, MOST_KINDS, WINDOW_SECONDS, RepeatCounter
from tests.clocks import FakeClock


class Log:
    """A logger whose lines are seen, on a clock that the test moves."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.stream = io.StringIO()
        self.handler = RepeatCounter(self.stream, clock=self.clock.now)

    def line(self, text: object, *args: object, name: str = "asyncio", failed: BaseException | None = None) -> None:
        info = None if failed is None else (type(failed), failed, None)
        self.handler.handle(logging.LogRecord(name, logging.ERROR, "x.py", 1, text, args, info))

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_line_that_comes_again_is_counted(log: Log) -> None:
    for _ in range(750):
        log.line("out of system resource")
    assert log.lines == ["out of system resource"]
    log.clock.advance(WINDOW_SECONDS)
    log.line("something else")
    assert log.lines[1:] == ["out of system resource (repeated 749 times)", "something else"]


def test_a_line_that_comes_now_and_then_is_written_each_time(log: Log) -> None:
    for _ in range(3):
        log.line("now and then")
        log.clock.advance(WINDOW_SECONDS)
    assert log.lines == ["now and then"] * 3


def test_lines_with_other_values_are_other_lines_until_they_are_too_many(log: Log) -> None:
    for number in range(ALIKE_LINES + 50):
        log.line("client %d", number)
    assert log.lines == [f"client {number}" for number in range(ALIKE_LINES)]
    log.handler.close()
    assert log.lines[ALIKE_LINES:] == [f"client {ALIKE_LINES + 49} (repeated 50 times)"]


def test_the_time_and_the_request_make_no_other_line(log: Log) -> None:
    for number in range(3):
        log.line({"event": "gone", "client": "a", "request": f"id-{number}", "timestamp": number})
    log.line({"event": "gone", "client": "b", "request": "id-3", "timestamp": 3})
    assert len(log.lines) == 2
    log.handler.close()
    assert "'request': 'id-2', 'timestamp': 2, 'repeated': 2" in log.lines[2]


def test_a_traceback_is_written_once(log: Log) -> None:
    for _ in range(3):
        log.line("failed", failed=ZeroDivisionError("by nothing"))
    log.handler.close()
    assert log.lines == ["failed", "ZeroDivisionError: by nothing", "failed (repeated 2 times)"]


def test_kinds_of_lines_are_forgotten_before_they_are_too_many(log: Log) -> None:
    for number in range(3 * MOST_KINDS):
        log.line(f"made up {number}")
    assert len(log.handler._tallies) <= MOST_KINDS + 1
    assert len(log.lines) == 3 * MOST_KINDS
