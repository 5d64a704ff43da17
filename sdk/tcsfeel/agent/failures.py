"""Say what went wrong in a trainer, so that an operator who cannot see the device can help.

An operator gets the type and the message of the exception, and the last lines of its traceback. All of it is bounded in
size, and directories of the device are left out of all of it, because their names may be private.
"""

import re
import traceback
from pathlib import PurePath

from tcsfeel.agent.errors import BrokenResult

_MAX_REASON = 300
_FRAMES, _LONGEST_NAME = 3, 30  # of a traceback in one line; characters of a name in it
_LINES, _LONGEST_LINE = 20, 200  # of a traceback in several lines
_SHOWN_FRAMES = 6  # of each exception in it
_READ = 2000  # characters of a message that are looked at
_OURS = PurePath(__file__).parent
_START = r"(?:[A-Za-z]:)?[/\\]|\.{1,2}[/\\]|~|file:"
_QUOTED = re.compile(rf"""(?P<quote>['"])(?P<path>(?:{_START})[^'"\n]*)(?P=quote)""")
_WORD = re.compile(r"""[^\s'"`<>|,;()=\[\]{}]+""")
_URL = re.compile(r"(?:\w+:)*?https?://[^/\\]")
_LABELS = re.compile(r"(?:\w{2,}:)*")
_ROOTED = re.compile(_START)
_FILE = re.compile(r"\.[A-Za-z]\w*$")

MISTAKES = (
    BrokenResult,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    NameError,
    ImportError,
    SyntaxError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
)
"""Exceptions that a mistake in the trainer or in its data causes: the same task would fail again in the same way.

A wrong shape is a ValueError in numpy. A RuntimeError is not here, because a GPU without memory raises one.
"""


def one_line(error: BaseException) -> str:
    """Return type and message of an error, short enough for an answer."""
    return _short(f"{type(error).__name__}: {error}")


def failure(error: BaseException) -> str:
    """Say what is wrong with a result, or which error the trainer raised, and where."""
    if isinstance(error, BrokenResult):
        return _short(without_directories(str(error)[:_READ]))
    return _short(f"{type(error).__name__}: {_message(error)}") + _place(error)


def last_lines(error: BaseException) -> str | None:
    """Return the last lines of the traceback of an error that the trainer raised; None for a wrong result."""
    if isinstance(error, BrokenResult):
        return None
    lines: list[str] = []
    for one in _chain(error):
        frames = [frame for frame in traceback.extract_tb(one.__traceback__) if not _is_ours(frame)]
        for frame in frames[-_SHOWN_FRAMES:]:
            lines.append(f"  {_shown(frame)}")
            if frame.line:
                lines.append(f"    {without_directories(frame.line.strip()[:_READ])}")
        lines += f"{type(one).__name__}: {_message(one)}".splitlines()
    return "\n".join(line[:_LONGEST_LINE].rstrip() for line in lines[-_LINES:])


def without_directories(text: str) -> str:
    """Return a text in which paths have only their last name, as in ``.../x.csv``. Web addresses stay as they are.

    A path with spaces is recognised as one if it stands in quotes. Otherwise, each word of it is taken for a path.
    """
    text = _QUOTED.sub(lambda found: f"{found['quote']}{_last_name(found['path'])}{found['quote']}", text)
    return _WORD.sub(lambda found: _last_name(found[0]), text)


def _last_name(word: str) -> str:
    """Return a word with ``...`` for the directories in it, if it is a path."""
    if _URL.match(word):
        return word
    labels = "" if (found := _LABELS.match(word)) is None else found[0]
    *directories, name = re.split(r"[/\\]+", word[len(labels) :])
    if not any(directories):  # no path, or one without directories, such as /x
        return word
    is_path = _ROOTED.match(word, len(labels)) or len(directories) > 1 or _FILE.search(name)
    return f"{labels}.../{name}" if is_path else word


def _short(text: str) -> str:
    return " ".join(text[: 4 * _MAX_REASON].split())[:_MAX_REASON]


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error after those that led to it, of which there are two at most."""
    chain = [error]
    while len(chain) < 3:  # noqa: PLR2004  (the two that led to it)
        one = chain[0]
        before = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        if before is None or before in chain:
            break
        chain.insert(0, before)
    return chain


def _message(error: BaseException) -> str:
    """The message of an error without the directories of this device. The error may be unable to say anything."""
    try:
        return without_directories(str(error)[:_READ])
    except Exception:  # noqa: BLE001  (its __str__ is third-party code)
        return "(its message cannot be read)"


def _place(error: BaseException) -> str:
    """Name the last lines of a traceback, outermost first, without the directories of this device and without ours."""
    frames = [_shown(frame) for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame)]
    return f" ({', '.join(frames[-_FRAMES:])})" if frames else ""


def _shown(frame: traceback.FrameSummary) -> str:
    return f"{PurePath(frame.filename).name[-_LONGEST_NAME:]}:{frame.lineno} in {frame.name[-_LONGEST_NAME:]}"


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return PurePath(frame.filename).is_relative_to(_OURS)
