"""What agents say of their failures, as operators read it, and what is tried again."""

import json
from http import HTTPStatus

import pytest

from app.services.tasks.complaints import Complaint, may_pass, read_complaint
from tcsfeel.agent.replies import Problem
from tcsfeel.wire.sizes import ERROR_BYTES


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"detail": "no data"}', Complaint("no data")),
        (
            b'{"type": "about:blank", "title": "Internal Server Error", "status": 500}',
            Complaint("Internal Server Error"),
        ),
        (b'{"detail": "fit must return a FitResult", "retry": false}', Complaint("fit must return a FitResult", False)),
        (b'{"detail": "busy", "retry": true}', Complaint("busy", again=True)),
        (b'{"detail": "busy", "retry": null}', Complaint("busy")),
        (b'{"detail": "busy", "retry": 0}', Complaint("busy")),
        (b'{"detail": "two\\nlines \\u001b[31m\\u0000"}', Complaint("two lines [31m")),
        (b'{"detail": "your token is s3cret, s3cr\\u0065t"}', Complaint("your token is <token>, <token>")),
        (b'{"detail": ["no", "text"]}', Complaint('{"detail": ["no", "text"]}')),
        (b'{"error": "none that we know"}', Complaint('{"error": "none that we know"}')),
        (b'["no data"]', Complaint('["no data"]')),
        (b"plain s3cret\r\ntext", Complaint("plain <token> text")),
        (b"", Complaint("")),
        (b"\xff\xfe", Complaint("\N{REPLACEMENT CHARACTER}" * 2)),
        (b"[" * ERROR_BYTES, Complaint("[" * 299 + "…")),
        (b'{"retry": false, "detail": ' + b"9" * (ERROR_BYTES - 28) + b"}", None),
        (b'{"detail": "\\ud800"}', Complaint("")),
    ],
)
def test_a_complaint_is_one_line_of_text(body: bytes, complaint: Complaint | None) -> None:
    found = read_complaint(body, "s3cret")
    assert len(found.text) <= 300
    assert found.text.isprintable()
    if complaint is not None:
        assert found == complaint


def test_a_traceback_is_kept_line_by_line_and_bounded() -> None:
    lines = [f"  train.py:{number} in fit" for number in range(30)] + ["    x = s3cret\x1b[31m" + "y" * 500]
    found = read_complaint(json.dumps({"detail": "no", "traceback": "\n".join(lines)}).encode(), "s3cret")
    shown = (found.traceback or "").splitlines()
    assert len(shown) == 20
    assert shown[0] == "  train.py:11 in fit"
    assert shown[-1].startswith("    x = <token> [31myyy")
    assert len(shown[-1]) <= 4 + 200
    assert all(line.isprintable() for line in shown)


@pytest.mark.parametrize("given", [None, 7, ["a"], "", "\n \n"])
def test_what_is_no_traceback_is_none(given: object) -> None:
    assert read_complaint(json.dumps({"detail": "no", "traceback": given}).encode(), "").traceback in {None, " "}


def test_a_reason_of_full_length_fits_into_what_is_read_however_it_is_escaped() -> None:
    body = json.dumps({"type": "urn:tcsfeel:problem:broken-trainer", "retry": False, "detail": "\U0001f4a5" * 300})
    assert len(body) <= ERROR_BYTES
    assert read_complaint(body.encode(), "") == Complaint("\U0001f4a5" * 300, passing=False)


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 507])
def test_passing_trouble_is_tried_again(status: int) -> None:
    assert may_pass(status)


@pytest.mark.parametrize("status", [201, 204, 301, 304, 400, 401, 403, 405, 406, 413, 415, 422, 451, 501, 505])
def test_what_no_repeat_can_mend_is_not(status: int) -> None:
    assert not may_pass(status)


@pytest.mark.parametrize("letter", ["ä", "模", "😀", "\x01", '"', "\udcff"])
def test_the_longest_traceback_of_an_agent_is_read_in_any_script(letter: str) -> None:
    lines = [letter * 200] * 19 + ["ValueError: no"]
    problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, letter * 500, broken_trainer=True, traceback="\n".join(lines))
    body = problem.body()
    assert len(body) <= ERROR_BYTES
    found = read_complaint(body, "s3cret")
    assert not found.passing
    assert not found.text.startswith("{")
    assert (found.traceback or "").splitlines()[-1] == "ValueError: no"


def test_a_traceback_of_an_agent_does_not_count_against_its_reason() -> None:
    lines = "\n".join(["\x01" * 5000, "ValueError: no"])
    problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "no", traceback=lines)
    assert read_complaint(problem.body(), "") == Complaint("no", traceback="ValueError: no")
    longest = Problem(HTTPStatus.NOT_FOUND, "\x01" * 20_000, traceback=None)
    assert len(longest.body()) <= ERROR_BYTES
