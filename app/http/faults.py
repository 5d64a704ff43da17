"""Turn the errors that pydantic finds in a request into sentences about fields.

A pointer is a JSON pointer into the body; ``/query/…``, ``/path/…`` and ``/header/…`` point at the rest of the request.
The sentences do not repeat the values that were sent, because a value may be a secret.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tcsfeel.contract.fields import PATTERN_RULES
from tcsfeel.contract.problems import FieldProblem

_SUBJECT = re.compile(r"^(?:Input|String|List|Dictionary|Value) should\b")
_WORDS: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not a known field or parameter: remove it",
    "model_type": "should be a JSON object",
    "model_attributes_type": "should be a JSON object",
    "string_unicode": "should be text without lone surrogates",
}


def field_problems(found: Sequence[Any]) -> list[FieldProblem]:
    """Turn pydantic's errors into pointers with sentences; at most a hundred."""
    return [FieldProblem(pointer=_pointer(entry), detail=_sentence(entry)) for entry in found[:100]]


def _pointer(entry: Any) -> str:
    """Give the place of an error. If the JSON does not parse or a key is wrong, it is the place that contains it."""
    place = entry["loc"][1:] if entry["loc"][:1] == ("body",) else entry["loc"]
    if entry["type"] == "json_invalid":
        place = ()
    elif place[-1:] == ("[key]",):
        place = place[:-1]
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)


def _sentence(entry: Any) -> str:
    """Say what is wrong, in words that can follow the name of the field."""
    context = entry.get("ctx") or {}
    if entry["type"] == "json_invalid":
        place = f" at character {entry['loc'][-1]}" if isinstance(entry["loc"][-1], int) else ""
        return f"is not JSON: {context.get('error', entry['msg'])}{place}"
    if entry["type"] == "string_pattern_mismatch" and context.get("pattern") in PATTERN_RULES:
        return PATTERN_RULES[context["pattern"]]
    words = _WORDS.get(entry["type"]) or _SUBJECT.sub(
        "should",
        entry["msg"].removeprefix("Value error, ").replace(" after validation,", ",").removesuffix(", not more"),
    )
    return f"has a key that {words}" if entry["loc"][-1:] == ("[key]",) else words
