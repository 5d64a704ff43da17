"""How far a task has come to its agent that is sent in several calls.

Covers: app.services.tasks.requests, app.services.tasks.answers
"""

import pytest

from app.services.tasks.answers import AgentFailed, Answer, unforeseen
from app.services.tasks.bodies import TaskBody
from app.services.tasks.outgoing import Arrived, Course, arrived, arrived_elsewhere, headers_of
from app.services.tasks.requests import LONG_BYTES, Request
from app.services.tasks.resuming import LEAST_BYTES, TRIES
from app.turns import Turns
from tests.services.asking import AGENT
from tests.services.network import answered

LOST = AgentFailed("lost", kind="unreachable")


def answer(status: int, **headers: str) -> Answer:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(answered(status, headers=said), AGENT, None, Turns(), 1.0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(204, Upload_Offset="5", Upload_Complete="?0"), Arrived(5, complete=False)),
        (answer(204, Upload_Complete="?1"), Arrived(0, complete=True)),
        (answer(204, Upload_Offset="5"), None),
        (answer(204, Upload_Offset="-5", Upload_Complete="?0"), None),
        (answer(404), None),
        (answer(405), None),
    ],
)
def test_what_has_arrived_is_read_from_the_answer(given: Answer, expected: Arrived | None) -> None:
    assert arrived(given) == expected


def test_a_refusal_that_names_an_offset_says_that_another_part_is_there() -> None:
    assert arrived_elsewhere(answer(409, Upload_Offset="5"))
    assert not arrived_elsewhere(answer(409))
    assert not arrived_elsewhere(answer(202, Upload_Offset="5"))


def test_a_course_goes_on_as_long_as_calls_bring_something() -> None:
    course = Course(100 * LEAST_BYTES)
    for number in range(1, 90):
        course.advance(Arrived(number * LEAST_BYTES, complete=False), LOST)
        assert course.offset == number * LEAST_BYTES
    for _ in range(TRIES - 1):
        course.advance(Arrived(course.offset + 1, complete=False), LOST)
    with pytest.raises(AgentFailed, match="lost"):
        course.advance(Arrived(course.offset + 1, complete=False), LOST)


def test_a_course_ends_if_the_agent_loses_again_and_again_what_it_had() -> None:
    course = Course(100 * LEAST_BYTES)
    for number in range(TRIES):
        course.advance(Arrived(LEAST_BYTES * (number % 2 == 0), complete=False), LOST)
    with pytest.raises(AgentFailed, match="lost"):
        course.advance(Arrived(LEAST_BYTES, complete=False), LOST)


def test_a_course_ends_where_the_agent_has_the_task_or_claims_too_much() -> None:
    course = Course(LONG_BYTES)
    course.advance(Arrived(0, complete=True), LOST)
    assert course.arrived
    with pytest.raises(AgentFailed, match="lost"):
        Course(LONG_BYTES).advance(Arrived(LONG_BYTES + 1, complete=False), LOST)


def test_a_task_is_put_and_its_rest_is_appended() -> None:
    body = TaskBody(b"head", memoryview(b"block"))
    assert headers_of(body, "d", 0, "zstd") == (
        "PUT",
        {
            "Content-Type": "application/vnd.safetensors",
            "Content-Digest": "d",
            "Content-Length": "9",
            "Accept-Encoding": "zstd",
        },
    )
    assert headers_of(body, "d", 4, "identity") == (
        "PATCH",
        {
            "Content-Type": "application/partial-upload",
            "Upload-Offset": "4",
            "Upload-Complete": "?1",
            "Repr-Digest": "d",
            "Content-Length": "5",
            "Accept-Encoding": "identity",
        },
    )


def test_only_a_long_request_may_have_arrived_in_part() -> None:
    assert Request("PUT", "http://a", "/", {"Content-Length": str(LONG_BYTES)}).is_long
    assert not Request("PUT", "http://a", "/", {"Content-Length": str(LONG_BYTES - 1)}).is_long
    assert not Request("GET", "http://a", "/").is_long


def test_an_error_that_nobody_foresaw_is_named() -> None:
    assert str(unforeseen(KeyError("x"))) == "its answer could not be read (KeyError)"
