"""How long a transfer waits for its other side."""

import pytest

from tcsfeel.inbound.pace import Pace, hurry


def test_each_byte_earns_time_and_waiting_spends_it() -> None:
    pace = Pace(30.0, 100.0)
    pace.spend(20.0, 1000)
    assert pace.left == 20.0
    pace.spend(5.0, 0)
    assert pace.left == 15.0


def test_what_came_quickly_earns_no_longer_pause() -> None:
    pace = Pace(30.0, 100.0)
    pace.spend(1.0, 1_000_000)
    assert pace.left == 30.0


@pytest.mark.parametrize("pause", [1.0, 10.0, 29.0])
def test_a_transfer_takes_no_longer_than_its_size_allows(pause: float) -> None:
    pace, waited, sent, size = Pace(30.0, 100.0), 0.0, 0, 10_000
    while sent < size and pace.left > pause:
        pace.spend(pause, 10)  # less than the rate
        waited, sent = waited + pause, sent + 10
    assert waited <= 30.0 + size / 100.0


def test_another_servers_requests_are_left_alone() -> None:
    hurry({"type": "http"}, 1.0)
