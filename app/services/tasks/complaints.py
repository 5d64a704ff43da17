"""Read how an agent explains its own failure: the body as one line of text, and whether another try may help."""

import json
from dataclasses import dataclass

from tcsfeel.text import plain

GATEWAY = frozenset({502, 503, 504})  # what proxies answer for an agent that they cannot reach
TRACEBACK_LINES = 20
TRACEBACK_LINE = 200  # characters
_PASSING = frozenset({408, 425})  # besides 5xx: the request came at a bad moment
_LASTING = frozenset({501, 505})


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an agent says of its failure.

    Attributes:
        passing: whether another try of the same task may have another result.
        again: whether it says that another try may be answered otherwise, although the status does not.
        traceback: the last lines of the traceback of an exception in its trainer.
    """

    text: str
    passing: bool = True
    traceback: str | None = None
    again: bool = False


def read_complaint(body: bytes, token: str) -> Complaint:
    """Read the `detail` and `retry` of a problem document (RFC 9457), or the start of any other body.

    If the body repeats the bearer token that the agent was sent, the token is left out. A caller reads at most
    `ERROR_BYTES`.
    """
    text, passing, again, trace = body.decode("utf-8", "replace"), True, False, None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        told = document.get("detail") or document.get("title")
        text = told if isinstance(told, str) else text
        passing, again = document.get("retry") is not False, document.get("retry") is True
        given = document.get("traceback")
        trace = _lines(given.replace(token, "<token>") if token else given) if isinstance(given, str) else None
    return Complaint(plain(text.replace(token, "<token>") if token else text), passing, trace, again)


def _lines(text: str) -> str | None:
    """Return the last lines of a text, each as a line that can be shown and as indented as it was."""
    found = []
    for line in text.splitlines()[-TRACEBACK_LINES:]:
        indent = min(len(line) - len(line.lstrip(" ")), 8)
        found.append(" " * indent + plain(line, TRACEBACK_LINE))
    return "\n".join(found).strip("\n") or None


def may_pass(status: int) -> bool:
    """Tell whether another try may have another result, after an answer with this status."""
    return status in _PASSING or (status >= 500 and status not in _LASTING)  # noqa: PLR2004  (the class 5xx)
