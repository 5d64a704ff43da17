"""The chain of hashes that shows whether audit records were changed, removed or put in between.

A record is a JSON object. Its `hash` is the SHA-256, in hexadecimal digits, of the record's other fields as canonical
JSON: the fields in the order of their names, without spaces, in UTF-8, and without those that are null (RFC 8785, of
which a record uses only texts, whole numbers and objects). One of these fields is `previous`, the hash of the record
before. So the hash of one record proves the whole history up to it.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tcsfeel.errors import Picklable
from tcsfeel.text import escaped

GENESIS = "0" * 64
"""The `previous` of the first record of all."""
_BEYOND = 2**63  # the numbers that databases store
SHOWN = 100  # characters of a wrong value that an error repeats


class BrokenChain(Picklable):
    """A record does not follow from the one before it. `sequence` is its number, if it has one."""

    def __init__(self, sequence: int | None, detail: str) -> None:
        named = "a record without a number" if sequence is None else f"record {sequence}"
        super().__init__(f"the chain is broken at {named}: {detail}")
        self.sequence = sequence
        self.detail = detail


def canonical(record: Mapping[str, Any]) -> bytes:
    """Write the fields that are hashed. Raises `ValueError` for a value that is no text, whole number or object."""
    return json.dumps(
        {name: _checked(value) for name, value in record.items() if name != "hash" and value is not None},
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
    ).encode()


def digest(record: Mapping[str, Any]) -> str:
    """Compute the hash of a record."""
    return hashlib.sha256(canonical(record)).hexdigest()


class Chain:
    """Checks records one after another, in the order of their numbers.

    Attributes:
        anchor: the `previous` of the first record; `GENESIS` if that is the first record of all.
        first: the number of the first record, or None before it.
        last: the number of the last record.
        head: the hash of the last record.
        count: how many records were checked.
    """

    def __init__(self) -> None:
        self.anchor = GENESIS
        self.first: int | None = None
        self.last = 0
        self.head = GENESIS
        self.count = 0

    def check(self, record: Any) -> str:
        """Check the next record and return its hash. Raises `BrokenChain`."""
        number = record.get("sequence") if isinstance(record, Mapping) else None
        if not isinstance(record, Mapping) or type(number) is not int or not 1 <= number < _BEYOND:
            raise BrokenChain(None, "it is no object with a number as `sequence`")
        previous = record.get("previous")
        if self.first is None:
            self.first, self.anchor = number, escaped(str(previous), SHOWN)
            if number == 1 and previous != GENESIS:
                raise BrokenChain(number, f"it is the first of all, and its `previous` is not {GENESIS}")
        elif number != self.last + 1:
            raise BrokenChain(number, f"it comes after record {self.last}")
        elif previous != self.head:
            raise BrokenChain(number, f"its `previous` is not the hash of record {self.last}, which is {self.head}")
        try:
            computed = digest(record)
        except (ValueError, RecursionError) as error:
            raise BrokenChain(number, f"it cannot be hashed: {escaped(str(error), SHOWN)}") from None
        if record.get("hash") != computed:
            raise BrokenChain(number, f"its content has the hash {computed}, which is not its `hash`")
        self.last, self.head, self.count = number, computed, self.count + 1
        return computed


def _checked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _checked(part) for name, part in value.items()}
    if type(value) not in {str, int}:
        raise ValueError(f"{escaped(str(value), SHOWN)} is no text, whole number or object")
    return value
