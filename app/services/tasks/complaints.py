"""What an agent says of its own failure: the body of an error as one line of text, and whether another try may help."""

import json
from dataclasses import dataclass

from tcsfeel.text import plain

MOST_BYTES = 4_000  # of an error's body that are read
_PASSING = frozenset({408, 425})  # besides 5xx: the request came at a bad moment
_LASTING = frozenset({501, 505})


@dataclass(frozen=True, slots=True)
class Complaint:
    """The text, and whether the agent leaves it open that another try of the same task comes out otherwise."""

    text: str
    passing: bool = True


def read_complaint(body: bytes, token: str) -> Complaint:
    """The `detail` of a problem document (RFC 9457) and its `retry`, or the start of any other body.

    The bearer token that the agent was sent is left out if it repeats it. At most `MOST_BYTES` are given.
    """
    text, passing = body.decode("utf-8", "replace"), True
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        told = document.get("detail") or document.get("title")
        text = told if isinstance(told, str) else text
        passing = document.get("retry") is not False
    return Complaint(plain(text.replace(token, "<token>") if token else text), passing)


def may_pass(status: int) -> bool:
    """Whether a try that was answered with this status may come out otherwise when it is made again."""
    return status in _PASSING or (status >= 500 and status not in _LASTING)  # noqa: PLR2004  (the class 5xx)
