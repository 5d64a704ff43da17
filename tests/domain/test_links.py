"""How much is believed of what relays have measured of their links."""

from dataclasses import replace

import pytest

from app.domain.links import FORGOTTEN_SECONDS, Fed, MeasuredLink, fed, measured_cost, pair_of

NOW = 1_700_000_000.0
AB = ("a", "b")


def link(measured: float, claimed: float | None = None, at: float = NOW) -> MeasuredLink:
    return MeasuredLink(source="a", target="b", measured=measured, measurements=1, measured_at=at, claimed=claimed)


def test_a_link_has_one_name_in_both_directions() -> None:
    assert pair_of("b", "a") == pair_of("a", "b") == AB


@pytest.mark.parametrize(
    ("seconds", "size", "cost"),
    [(3.0, 2_000_000, 1.5), (0.0, 2_000_000, None), (3.0, 262_143, None), (1.0, 262_144, pytest.approx(3.8147, 1e-4))],
)
def test_a_cost_is_that_of_a_megabyte_and_small_updates_say_nothing(
    seconds: float, size: int, cost: float | None
) -> None:
    assert measured_cost(seconds, size) == cost


def test_the_newest_measurement_weighs_three_tenths() -> None:
    after = link(1.0, claimed=0.5).observed(2.0, NOW + 1)
    assert after == replace(link(1.3, claimed=0.5), measurements=2, measured_at=NOW + 1)


@pytest.mark.parametrize(("measured", "believed"), [(0.5, 0.5), (1e-9, 0.05), (1e9, 3.2), (0.0, 0.05)])
def test_a_lie_moves_a_cost_by_a_bounded_factor(measured: float, believed: float) -> None:
    assert link(measured).believed(0.4) == pytest.approx(believed)


def test_the_matrix_follows_a_link_and_keeps_what_was_claimed() -> None:
    assert fed([link(1.0)], {AB: 0.5}, NOW) == Fed({AB: 1.0}, {AB: 0.5}, [])
    assert fed([link(1.0, claimed=0.5)], {AB: 1.0}, NOW) == Fed({}, {}, [])


@pytest.mark.parametrize(("measured", "costs"), [(1.2, {}), (0.8, {}), (1.21, {AB: 1.21}), (0.79, {AB: 0.79})])
def test_a_small_change_makes_no_version(measured: float, costs: dict[tuple[str, str], float]) -> None:
    assert fed([link(measured, claimed=1.0)], {AB: 1.0}, NOW).costs == costs


def test_bounds_go_by_what_was_claimed_and_not_by_what_the_matrix_has_by_now() -> None:
    assert fed([link(100.0, claimed=0.5)], {AB: 4.0}, NOW).costs == {}


def test_what_nobody_measures_any_more_is_forgotten() -> None:
    old = NOW - FORGOTTEN_SECONDS - 1
    assert fed([link(1.0, claimed=0.5, at=old)], {AB: 1.0}, NOW) == Fed({AB: 0.5}, {}, [AB])
    assert fed([link(1.0, at=old)], {AB: 0.5}, NOW) == Fed({}, {}, [AB])
    assert fed([link(1.0, claimed=0.5, at=old + 2)], {AB: 1.0}, NOW) == Fed({}, {}, [])


def test_a_link_that_the_matrix_does_not_have_is_not_made() -> None:
    assert fed([link(1.0)], {}, NOW) == Fed({}, {}, [AB])


def test_a_free_link_stays_free() -> None:
    assert fed([link(1.0)], {AB: 0.0}, NOW).costs == {}
