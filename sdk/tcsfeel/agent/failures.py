"""Say in one line why a task failed: which error was raised, and where."""

import traceback
from pathlib import PurePath

from tcsfeel.agent.errors import BrokenResult

MISTAKES = (BrokenResult, TypeError, AttributeError, NameError, ImportError, NotImplementedError)
"""Exceptions that are caused by a mistake in the trainer, so that the same task would fail again in the same way."""

_MAX_REASON = 300
_FRAMES, _LONGEST_NAME = 3, 30  # of a traceback; characters of a name in one
_OURS = PurePath(__file__).parent


def one_line(error: BaseException) -> str:
    """Return type and message of an error, short enough for an answer."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_REASON]


def failure(error: BaseException) -> str:
    """Say what is wrong with a result, or which error the trainer raised, and where."""
    if isinstance(error, BrokenResult):
        return " ".join(str(error).split())[:_MAX_REASON]
    return f"{one_line(error)}{_place(error)}"


def _place(error: BaseException) -> str:
    """Name the last lines of a traceback, outermost first, without the directories of this device and without ours."""
    frames = [
        f"{PurePath(frame.filename).name[-_LONGEST_NAME:]}:{frame.lineno} in {frame.name[-_LONGEST_NAME:]}"
        for frame in traceback.extract_tb(error.__traceback__)
        if not PurePath(frame.filename).is_relative_to(_OURS)
    ]
    return f" ({', '.join(frames[-_FRAMES:])})" if frames else ""
