"""What agents say in the headers of their answers."""

import pytest

from app.services.tasks.replies import MAX_RETRY_AFTER, coding_of, retry_after, unexpected
from tests.services.network import answered


@pytest.mark.parametrize(
    ("given", "coding"),
    [({}, "identity"), ({"Content-Encoding": "gzip"}, "gzip"), ({"Content-Encoding": " ZSTD "}, "zstd")],
)
def test_the_coding_of_a_body_is_read_without_case_and_blanks(given: dict[str, str], coding: str) -> None:
    assert coding_of(answered(200, headers=given)) == coding


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("1e9", MAX_RETRY_AFTER),
        ("inf", MAX_RETRY_AFTER),
        ("soon", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_the_pause_that_a_busy_agent_asks_for_is_bounded(said: str, seconds: float | None) -> None:
    assert retry_after(answered(429, headers={"Retry-After": said})) == seconds


def test_a_busy_agent_may_ask_for_no_pause() -> None:
    assert retry_after(answered(429)) is None


def test_a_status_that_means_nothing_is_named_with_its_phrase_if_it_has_one() -> None:
    expected = "expected 200, 202, 404, 409, 410, 429 or 500"
    assert unexpected(304) == f"the agent answered 304 Not Modified, {expected}"
    assert unexpected(299) == f"the agent answered 299, {expected}"
