"""The chain of hashes over audit records."""

import hashlib
import pickle
from typing import Any

import pytest

from tcsfeel.audit import GENESIS, BrokenChain, Chain, canonical, digest

Record = dict[str, Any]


def chained(count: int, first: int = 1, previous: str = GENESIS) -> list[Record]:
    """Records that follow from each other."""
    records = []
    for sequence in range(first, first + count):
        record: Record = {"sequence": sequence, "actor": f"å{sequence}", "role": None, "previous": previous}
        previous = digest(record)
        records.append(record | {"hash": previous})
    return records


def test_a_record_is_hashed_as_canonical_json_without_its_hash_and_its_nulls() -> None:
    record = {"status": 201, "actor": 'å"\n\x1f', "role": None, "parameters": {"b": "2", "a": "1"}, "hash": "x"}
    text = '{"actor":"å\\"\\n\\u001f","parameters":{"a":"1","b":"2"},"status":201}'
    assert canonical(record) == text.encode()
    assert digest(record) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("value", [1.5, True, [1], float("nan"), {"deep": [1]}])
def test_a_value_that_others_might_write_in_another_way_is_not_hashed(value: Any) -> None:
    with pytest.raises(ValueError, match="is no text, whole number or object"):
        canonical({"actor": value})


def test_an_unbroken_chain_is_followed_to_its_head() -> None:
    chain, records = Chain(), chained(3)
    assert [chain.check(record) for record in records] == [record["hash"] for record in records]
    assert (chain.first, chain.last, chain.count, chain.anchor) == (1, 3, 3, GENESIS)
    assert chain.head == records[-1]["hash"]


def test_a_chain_whose_old_records_are_removed_is_anchored_in_the_last_of_them() -> None:
    chain, records = Chain(), chained(5)
    for record in records[2:]:
        chain.check(record)
    assert (chain.first, chain.last, chain.anchor) == (3, 5, records[1]["hash"])


def broken(records: list[Any]) -> BrokenChain:
    with pytest.raises(BrokenChain) as error:
        follow(records)
    return error.value


def follow(records: list[Any]) -> None:
    chain = Chain()
    for record in records:
        chain.check(record)


@pytest.mark.parametrize(("field", "value"), [("actor", "nobody"), ("role", "admin"), ("added", 1), ("hash", "f" * 64)])
def test_a_record_that_was_changed_breaks_it(field: str, value: Any) -> None:
    records = chained(3)
    records[1] |= {field: value}
    assert broken(records).sequence == 2


def test_a_record_that_was_changed_and_hashed_again_breaks_it_at_the_next() -> None:
    records = chained(3)
    records[1]["actor"] = "nobody"
    records[1]["hash"] = digest(records[1])
    error = broken(records)
    assert (error.sequence, error.detail) == (
        3,
        f"its `previous` is not the hash of record 2, which is {digest(records[1])}",
    )


def test_a_record_that_is_missing_doubled_or_moved_breaks_it() -> None:
    one, two, three = chained(3)
    assert broken([one, three]).detail == "it comes after record 1"
    assert broken([one, two, two]).sequence == 2
    assert broken([two, one]).sequence == 1
    assert broken([chained(1, previous="f" * 64)[0]]).sequence == 1


@pytest.mark.parametrize("line", [None, 3, [], {}, {"sequence": "1"}, {"sequence": True}, {"sequence": 0}])
def test_what_is_no_record_breaks_it(line: Any) -> None:
    assert broken([line]).sequence is None


def test_a_record_that_cannot_be_hashed_breaks_it() -> None:
    for value in ("\ud800", 1.5):
        error = broken([{"sequence": 1, "previous": GENESIS, "actor": value, "hash": "x"}])
        assert "cannot be hashed" in error.detail


def test_the_error_can_go_to_another_process() -> None:
    error = BrokenChain(3, "it comes after record 1")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  (it was made here)
    assert str(error) == "the chain is broken at record 3: it comes after record 1"
