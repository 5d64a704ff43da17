"""Clean text that came from outside so that it can be stored, logged and read."""

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

SHOWN = 300  # characters of a reason
LONGEST = 4000  # characters of a text that people read, whatever it is


def plain(text: str, limit: int = SHOWN) -> str:
    """Return the text as one line of at most `limit` characters, with a space for each character that does not print.

    Control characters, line breaks, escapes of terminals, marks that turn the direction of writing, and halves of
    surrogate pairs do not print. A longer text ends in an ellipsis.
    """
    start = text[: 4 * limit]  # do not clean what is cut off anyway
    clean = start if start.isprintable() else "".join(letter if letter.isprintable() else " " for letter in start)
    line = " ".join(clean.split())
    return line if len(line) <= limit and len(start) == len(text) else f"{line[: limit - 1]}…"


NAMED = 20  # of many, those that a message names with their reasons
_KINDS = 5  # of the other reasons, those that it counts
_LISTED = 3000  # characters after which a message names no more
_PART = 250  # characters of a reason among several
_KIND = 80


def listed(reasons: Iterable[tuple[str, str]], counted: Collection[str] = ()) -> str:
    """List names with their reasons: the first 20 in full, and for the others how many have which kind of reason.

    The kind of a reason is the text before its first colon. Fewer are named if their reasons are long.
    Those with a reason of `counted` are never named.
    """
    every = list(reasons)
    ordered = sorted(one for one in every if one[1] not in counted)
    named: list[str] = []
    length = 0
    for name, reason in ordered[:NAMED]:
        if length > _LISTED:
            break
        named.append(f"{name}: {plain(reason, _PART)}")
        length += len(named[-1])
    unnamed = [*ordered[len(named) :], *(one for one in every if one[1] in counted)]
    rest = Counter(reason.partition(":")[0] for _, reason in unnamed)
    if rest:
        kinds = [f"{count} x {plain(kind, _KIND)}" for kind, count in rest.most_common(_KINDS)]
        named.append(
            f"{'and ' if named else ''}{rest.total()} more ({', '.join(kinds)}{', …' if len(rest) > _KINDS else ''})"
        )
    return "; ".join(named)


def moment(instant: float) -> str:
    """Format a time (unix seconds) for the reader of a message, in UTC."""
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def escaped(text: str, limit: int = LONGEST) -> str:
    r"""Escape characters that do not print, such as ``\x1b``, and cut the text to about `limit` characters."""
    start = text if len(text) <= limit else f"{text[: limit - 1]}…"
    if start.isprintable():
        return start
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in start)
