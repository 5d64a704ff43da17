"""Read how an agent explains its own failure: the body as one line of text, and whether another try may help."""

import json
from dataclasses import dataclass

from tcsfeel.text import plain

MOST_BYTES = 4_000  # of an error's body that are read
_PASSING = frozenset({408, 425})  # besides 5xx: the request came at a bad moment
_LASTING = frozenset({501, 505})


@dataclass(frozen=True, slots=True)
class Complaint:
    """The text, and whether another try of the same task may have another result."""

    text: str
    passing: bool = True


def read_complaint(body: bytes, token: str) -> Complaint:
    """Read the `detail` and `retry` of a problem document (RFC 9457), or the start of any other body.

    If the body repeats the bearer token that the agent was sent, the token is left out. At most `MOST_BYTES` are read.
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
    """Tell whether another try may have another result, after an answer with this status."""
    return status in _PASSING or (status >= 500 and status not in _LASTING)  # noqa: PLR2004  (the class 5xx)
