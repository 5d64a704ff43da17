"""Which part of a body a request asks for."""

import pytest

from app.http.catalog import ForeignVersion, RangeNotSatisfiable
from app.http.ranges import wanted_part

ETAG = '"v1"'


def part(wanted: str, if_range: str = "", if_match: str = "") -> tuple[int, int] | None:
    return wanted_part(100, ETAG, wanted=wanted, if_range=if_range, if_match=if_match)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("", None),
        ("bytes=0-", (0, 100)),
        ("bytes=40-", (40, 100)),
        ("bytes=40-49", (40, 50)),
        ("bytes=99-1000", (99, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=1-2,4-5", None),
        ("pages=1-2", None),
        ("bytes=x-", None),
        ("bytes=-", None),
    ],
)
def test_one_range_is_read_and_other_forms_are_ignored(wanted: str, expected: tuple[int, int] | None) -> None:
    assert part(wanted) == expected


@pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=-0", "bytes=9-3"])
def test_a_range_without_a_byte_of_the_body_is_refused(wanted: str) -> None:
    with pytest.raises(RangeNotSatisfiable, match="within the 100 bytes"):
        part(wanted)


def test_a_range_of_another_version_is_ignored_or_refused_as_the_caller_wants() -> None:
    assert part("bytes=40-", if_range=ETAG) == (40, 100)
    assert part("bytes=40-", if_range='"v0"') is None
    assert part("bytes=40-", if_match=f'"v0", {ETAG}') == (40, 100)
    assert part("bytes=40-", if_match="*") == (40, 100)
    with pytest.raises(ForeignVersion, match="another version"):
        part("bytes=40-", if_match='"v0"')
