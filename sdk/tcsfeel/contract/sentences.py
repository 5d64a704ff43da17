"""Turn the errors that pydantic finds into sentences about fields, in the same words for servers and clients.

A pointer is a JSON pointer (RFC 6901). The sentences do not repeat the values that were given, because a value may be a
secret.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tcsfeel.contract.fields import PATTERN_RULES

SHOWN = 3
"""How many wrong fields a summary names."""

_SUBJECT = re.compile(r"^(?:Input|String|List|Dictionary|Value) should\b")
_WORDS: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not a known field or parameter: remove it",
    "model_type": "should be a JSON object",
    "model_attributes_type": "should be a JSON object",
    "string_unicode": "should be text without lone surrogates",
}


def pointer(entry: Mapping[str, Any]) -> str:
    """Give the place of an error. If the JSON does not parse or a key is wrong, it is the place that contains it."""
    place = tuple(entry["loc"])
    if entry["type"] == "json_invalid":
        place = ()
    elif place[-1:] == ("[key]",):
        place = place[:-1]
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)


def sentence(entry: Mapping[str, Any]) -> str:
    """Say what is wrong, in words that can follow the name of the field."""
    context = entry.get("ctx") or {}
    if entry["type"] == "json_invalid":
        place = f" at character {entry['loc'][-1]}" if entry["loc"] and isinstance(entry["loc"][-1], int) else ""
        return f"is not JSON: {context.get('error', entry['msg'])}{place}"
    if entry["type"] == "string_pattern_mismatch" and context.get("pattern") in PATTERN_RULES:
        return PATTERN_RULES[context["pattern"]]
    words = _WORDS.get(entry["type"]) or _SUBJECT.sub(
        "should",
        entry["msg"].removeprefix("Value error, ").replace(" after validation,", ",").removesuffix(", not more"),
    )
    return f"has a key that {words}" if entry["loc"][-1:] == ("[key]",) else words


def summary(fields: Sequence[tuple[str, str]]) -> str:
    """Name the first wrong fields, given as pointers and sentences, and tell how many more there are."""
    shown = "; ".join(f"{place or 'the body'} {words}" for place, words in fields[:SHOWN])
    more = len(fields) - SHOWN
    return f"{shown}; {more} more {'is' if more == 1 else 'are'} listed in errors" if more > 0 else shown
