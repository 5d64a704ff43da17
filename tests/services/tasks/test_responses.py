"""What a response says in its headers."""

from tests.services.network import answered


def test_a_header_is_found_whatever_its_case() -> None:
    response = answered(200, headers={"Retry-After": "7"})
    assert [response.header(name) for name in ("retry-after", "RETRY-AFTER", "Accept")] == ["7", "7", ""]
