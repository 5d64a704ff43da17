"""Which versions go: worked cases, and what holds for all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.retention import Keepable, Retention, superfluous, superseded
from tcsfeel.aggregation.goals import Goal


def version(number: int, goal_value: float | None = None, *, sha256: str = "", **fields: object) -> Keepable:
    """By default its content is its number, and its parent the version before."""
    parent = None if number == 0 else str(number - 1)
    given: dict[str, object] = {"sha256": sha256 or str(number), "parent": parent, "pinned": False}
    return Keepable(round=number, goal_value=goal_value, **(given | fields))  # type: ignore[arg-type]  # a test's own


GOAL = Goal()
ACCURACIES = [None, 0.1, 0.7, 0.4, 0.7, 0.3, 0.2]  # of rounds 0 to 6
VERSIONS = [version(number, accuracy) for number, accuracy in enumerate(ACCURACIES)]


@pytest.mark.parametrize(
    ("keep_last", "keep_best", "gone"),
    [
        # 0 is the initial one, 4 the newer of the two best, 5 the parent of 6
        (1, True, [1, 2, 3]),
        (1, False, [1, 2, 3, 4]),
        (3, True, [1, 2, 3]),
        (4, True, [1, 2]),
        (7, False, []),
        (1000, True, []),
    ],
)
def test_what_is_not_among_the_last_the_best_and_the_needed_goes(
    keep_last: int, keep_best: bool, gone: list[int]
) -> None:
    retention = Retention(keep_last=keep_last, keep_best=keep_best)
    assert superfluous(retention, GOAL, VERSIONS) == gone
    assert superfluous(retention, GOAL, VERSIONS[::-1]) == gone


def test_where_the_metric_is_to_fall_the_lowest_is_the_best() -> None:
    falling = Goal(metric="rmse", mode="min")
    assert superfluous(Retention(keep_last=1), falling, VERSIONS) == [2, 3, 4], "1 has 0.1"


def test_what_is_pinned_stays() -> None:
    versions = [*VERSIONS[:2], version(2, 0.7, pinned=True), *VERSIONS[3:]]
    assert superfluous(Retention(keep_last=1), GOAL, versions) == [1, 3]


def test_what_carried_tasks_began_with_stays() -> None:
    assert superfluous(Retention(keep_last=1), GOAL, VERSIONS, carried={"2", "unknown"}) == [1, 3]


def test_what_was_never_measured_is_not_the_best() -> None:
    versions = [version(0), version(1), version(2, 0.0), version(3), version(4)]
    assert superfluous(Retention(keep_last=1), GOAL, versions) == [1]
    unmeasured = [version(number) for number in range(4)]
    assert superfluous(Retention(keep_last=1), GOAL, unmeasured) == [1]


def test_rounds_between_may_have_made_nothing() -> None:
    versions = [version(0), version(2), version(5, parent="2"), version(9, parent="5")]
    assert superfluous(Retention(keep_last=1), GOAL, versions) == [2]


def test_a_needed_content_is_kept_whichever_rounds_have_it() -> None:
    versions = [
        version(0),
        version(1, sha256="x"),
        version(2),
        version(3, sha256="x", parent="2"),
        version(4, parent="x"),
    ]
    assert superfluous(Retention(keep_last=1), GOAL, versions) == [2]


def test_of_nothing_nothing_goes() -> None:
    assert superfluous(Retention(), GOAL, []) == []
    assert superseded([]) == []


def test_without_a_retention_everything_stays() -> None:
    assert superfluous(None, GOAL, VERSIONS) == []


def test_the_states_of_the_newest_version_and_of_pinned_ones_stay() -> None:
    pinned = version(3, has_state=True, pinned=True)
    versions = [version(5, has_state=True), pinned, version(2, has_state=True), version(1, has_state=True), version(0)]
    assert superseded(versions) == [1, 2]
    assert superseded(versions[::-1]) == [1, 2]


def test_a_newest_version_without_a_state_leaves_no_older_one_its_own() -> None:
    assert superseded([version(1, has_state=True), version(2)]) == [1]


@given(
    accuracies=st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=12),
    pins=st.sets(st.integers(0, 11)),
    keep_last=st.integers(1, 14),
    keep_best=st.booleans(),
)
def test_going_again_changes_nothing_and_the_best_accuracy_does_not_fall(
    accuracies: list[float | None], pins: set[int], keep_last: int, keep_best: bool
) -> None:
    versions = [version(number, accuracy, pinned=number in pins) for number, accuracy in enumerate(accuracies)]
    retention = Retention(keep_last=keep_last, keep_best=keep_best)
    gone = superfluous(retention, GOAL, versions)
    kept = [one for one in versions if one.round not in gone]
    assert superfluous(retention, GOAL, kept) == []
    assert kept[-1] == versions[-1]
    assert len(kept) >= min(keep_last, len(versions))
    if keep_best:
        assert max(one.goal_value or 0.0 for one in kept) == max(accuracy or 0.0 for accuracy in accuracies)
