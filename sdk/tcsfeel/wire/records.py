"""Define records: frozen values whose fields are checked by rules when the value is made.

The rules are strict: no type is converted into another, except that an integer may stand for a float, and a float must
be finite. The sender of JSON may be hostile, so an error never repeats the text that it is about, except for names,
which are cut short and escaped.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, TypeVar

from tcsfeel.errors import Picklable
from tcsfeel.wire.errors import SHOWN, quoted

Rule = Callable[[Any], Any]
"""Returns the value to keep, or raises `WrongField`."""


class WrongField(Picklable, ValueError):
    """A field breaks its rule, or is missing.

    Attributes:
        rule: what is wrong, in words that can follow the place.
        value: the value, None where it is missing.
        place: the names that lead to it, with a dot between them.
    """

    def __init__(self, rule: str, value: object = None, place: str = "") -> None:
        super().__init__(f"{place} {rule}" if place else rule)
        self.rule = rule
        self.value = value
        self.place = place

    def below(self, name: str) -> "WrongField":
        """Return the same error with this name in front of its place."""
        shown = name if name.isidentifier() and len(name) <= SHOWN else quoted(name)
        return WrongField(self.rule, self.value, f"{shown}.{self.place}" if self.place else shown)


@dataclass(frozen=True, slots=True)
class Record:
    """A frozen dataclass whose fields follow `rules`. Making one raises `WrongField` if a field breaks its rule."""

    rules: ClassVar[Mapping[str, Rule]]

    def __post_init__(self) -> None:
        for name, rule in self.rules.items():
            try:
                object.__setattr__(self, name, rule(getattr(self, name)))
            except WrongField as error:
                raise error.below(name) from None

    def to_json(self) -> str:
        """Return the fields as one JSON object."""
        found = {name: getattr(self, name) for name in self.rules}
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


AnyRecord = TypeVar("AnyRecord", bound=Record)


def from_json(record: type[AnyRecord], text: str) -> AnyRecord:
    """Read a record. Fields that it does not know are ignored, so that a newer peer can say more.

    Raises `WrongField`.
    """
    return from_object(record, _parsed(text))


def from_object(record: type[AnyRecord], found: object) -> AnyRecord:
    """Do what `from_json` does with JSON that was parsed already."""
    if not isinstance(found, dict):
        raise WrongField("should be an object", found)
    for field in fields(record):
        if field.name not in found and field.default is MISSING and field.default_factory is MISSING:
            raise WrongField("is required").below(field.name)
    return record(**{name: found[name] for name in record.rules if name in found})


def text(least: int = 0, most: int | None = None) -> Rule:
    """Build the rule of a text of so many characters."""

    def rule(value: object) -> str:
        if not isinstance(value, str) or not _is_text(value):
            raise WrongField("should be a valid string", value)
        if len(value) < least:
            raise WrongField(f"should have at least {_characters(least)}", value)
        if most is not None and len(value) > most:
            raise WrongField(f"should have at most {_characters(most)}", value)
        return value

    return rule


def texts(most: int, longest: int) -> Rule:
    """Build the rule of a list of at most `most` texts, each of 1 to `longest` characters."""
    one = text(1, longest)

    def rule(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise WrongField("should be a list", value)
        if len(value) > most:
            raise WrongField(f"should have at most {most} entries, not {len(value)}")
        found = []
        for number, entry in enumerate(value):
            try:
                found.append(one(entry))
            except WrongField as error:
                raise error.below(str(number)) from None
        return tuple(found)

    return rule


def one_of(first: str, *others: str) -> Rule:
    """Build the rule of a text that is one of these."""
    *most, last = map(repr, (first, *others))
    known = f"{', '.join(most)} or {last}" if most else last

    def rule(value: object) -> str:
        if not isinstance(value, str) or value not in {first, *others}:
            raise WrongField(f"should be {known}", value)
        return value

    return rule


def whole(least: int, most: float = math.inf) -> Rule:
    """Build the rule of an integer within these bounds."""

    def rule(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise WrongField("should be a valid integer", value)
        _check_bounds(value, least, most)
        return value

    return rule


def real(least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf) -> Rule:
    """Build the rule of a finite float within these bounds; it is greater than `above`."""

    def rule(value: object) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise WrongField("should be a valid number", value)
        number = _float(value)
        if not math.isfinite(number):
            raise WrongField("should be a finite number", value)
        if number <= above:
            raise WrongField(f"should be greater than {above:.17g}", value)
        _check_bounds(number, least, most)
        return number

    return rule


def optional(of: Rule) -> Rule:
    """Build the rule of a value that follows `of`, or is null."""
    return lambda value: None if value is None else of(value)


def mapping(of: Rule) -> Rule:
    """Build the rule of a map from texts to values that follow `of`."""
    name = text()

    def rule(value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise WrongField("should be an object", value)
        found = {}
        for key, entry in value.items():  # there may be one for each of 16 000 tensors
            try:
                found[name(key)] = of(entry)
            except WrongField as error:
                raise error.below(str(key)) from None
        return found

    return rule


def records(of: type[AnyRecord], most: int) -> Rule:
    """Build the rule of a list of at most `most` records."""

    def rule(value: object) -> tuple[AnyRecord, ...]:
        if not isinstance(value, list | tuple):
            raise WrongField("should be a list", value)
        if len(value) > most:
            raise WrongField(f"should have at most {most} entries, not {len(value)}")
        found = []
        for number, entry in enumerate(value):
            try:
                found.append(entry if isinstance(entry, of) else from_object(of, entry))
            except WrongField as error:
                raise error.below(str(number)) from None
        return tuple(found)

    return rule


def scalar(value: object) -> bool | float | str | None:
    """Check for a bool, a finite number, a text or null."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str) and _is_text(value):
        return value
    raise WrongField("should be a boolean, a finite number, a valid string or null", value)


def _check_bounds(value: float, least: float, most: float) -> None:
    if value < least:
        raise WrongField(f"should be greater than or equal to {least:.17g}", value)
    if value > most:
        raise WrongField(f"should be less than or equal to {most:.17g}", value)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        rule = f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        raise WrongField(rule) from None
    except RecursionError:
        raise WrongField("is not JSON: it is nested too deeply") from None
    except ValueError:  # what Python refuses to convert, for its time grows with the square of the digits
        raise WrongField("is not JSON: a number in it has too many digits") from None


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _is_text(value: str) -> bool:
    """Tell whether a text can be encoded: an escape in JSON may name half of a surrogate pair."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _characters(number: int) -> str:
    return "1 character" if number == 1 else f"{number} characters"
