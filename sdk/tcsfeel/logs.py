"""Write the log of an agent to standard error: lines for people, or one JSON object a line.

``TCSFEEL_LOG__LEVEL`` (debug, info, warning, error) and ``TCSFEEL_LOG__FORMAT`` (console, json) are those of the
control plane.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime

from tcsfeel.repeats import RepeatCounter
from tcsfeel.text import escaped

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
FORMATS = ("console", "json")
QUIET = ("httpx2", "httpcore2", "uvicorn.access")


class WrongVariable(ValueError):
    """A variable of the environment has a value that it may not have."""


def configure() -> None:
    """Set logging up as the environment says. Raises `WrongVariable`."""
    level = _variable("TCSFEEL_LOG__LEVEL", "info", LEVELS)
    kind = _variable("TCSFEEL_LOG__FORMAT", "console", FORMATS)
    handler = RepeatCounter(sys.stderr)
    handler.setFormatter(_Json() if kind == "json" else _Lines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[level])
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, LEVELS[level]))


def _variable(name: str, default: str, allowed: "dict[str, int] | tuple[str, ...]") -> str:
    value = os.environ.get(name) or default
    if value not in allowed:
        raise WrongVariable(f"{name}: should be one of {', '.join(allowed)}, not {escaped(value, 80)!r}")
    return value


class _Lines(logging.Formatter):
    """One line for each record. What a terminal would obey is escaped, and the lines of a traceback are indented."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_instant(record)} [{record.levelname.lower():8}] {escaped(record.getMessage())}"
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n  {escaped(part)}" for part in trace)
        return line


class _Json(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "timestamp": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": escaped(record.getMessage()),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def _instant(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
