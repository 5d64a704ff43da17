"""Tell by their names which tensors belong to a group.

A pattern is compared with a whole name: ``*`` stands for any characters, ``?`` for one character, and every other
character for itself. Capitals differ from small letters.
"""

import re
from collections.abc import Collection, Iterable
from fnmatch import translate
from functools import lru_cache

MOST_PATTERNS = 64  # in one group
LONGEST_PATTERN = 256  # characters
MOST_CHARACTERS = 2048  # of all patterns of local tensors together, because they are sent in a URL


def matching(names: Iterable[str], patterns: Collection[str]) -> frozenset[str]:
    """Return the names that match one of the patterns."""
    if not patterns:
        return frozenset()
    found = _compiled(tuple(patterns))
    return frozenset(name for name in names if found.match(name))


def unmatched(names: Collection[str], patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns that match none of the names."""
    return tuple(pattern for pattern in patterns if not any(map(_compiled((pattern,)).match, names)))


@lru_cache(maxsize=256)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # `translate` makes an expression whose time does not explode; a bracket has no special meaning here.
    return re.compile("|".join(translate(pattern.replace("[", "[[]")) for pattern in patterns))
