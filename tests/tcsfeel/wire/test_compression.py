"""When a body may be sent in zstd. `tests/services/rounds/test_decompressing.py` reads what was compressed."""

import pytest

from tcsfeel.wire.compression import accepts_zstd


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("zstd", True),
        ("gzip, ZSTD;q=0.5, *", True),
        ("zstd ; q=1", True),
        ("zstd;q=0", False),
        ("zstd;q=0.000", False),
        ("identity", False),
        ("gzip, br", False),
        ("xzstd", False),
        ("", False),
    ],
)
def test_what_a_request_accepts(header: str, accepted: bool) -> None:
    assert accepts_zstd(header) == accepted
