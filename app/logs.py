"""Structured logs through structlog, for our own lines and for the libraries' alike.

Values that are bound with ``structlog.contextvars`` (request, training and round ids) are on every line of the task.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from app.settings import LogSettings
from tcsfeel.repeats import RepeatCounter
from tcsfeel.text import escaped

LONGEST_TRACEBACK = 20_000  # characters
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(settings: LogSettings) -> None:
    """Send every log line to standard error, as text for people or as one JSON object a line."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor
    if settings.format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        # The default tracebacks are not used, because they show every local variable, including agents' tokens.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            without_colours,
            without_controls,
            renderer,
        ],
    )
    handler = RepeatCounter(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[settings.level])
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.NOTSET)  # the root's, whatever was set before
    # aiosqlite writes the parameters of every statement at the level debug, tokens included.
    for noisy in ("aiosqlite", "httpx2", "httpcore2", "alembic", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, LEVELS[settings.level]))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def without_colours(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Remove the coloured copy of the message that uvicorn adds to its lines."""
    line.pop("color_message", None)
    return line


def without_controls(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what a terminal would obey, in every text of a line: no text that came from outside can forge another.

    The lines of a traceback are indented, since the message of an exception may hold some more.
    """
    for name, value in line.items():
        if not isinstance(value, str):
            continue
        if name == "exception":
            lines = value[-LONGEST_TRACEBACK:].splitlines()
            line[name] = "\n".join(f"  {escaped(part, LONGEST_TRACEBACK)}" for part in lines)
        else:
            line[name] = escaped(value)
    return line
