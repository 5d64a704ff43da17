"""Since when and why a training makes no progress."""

import pytest

from app.domain.progress import Progress, ProgressState, progressed

WAITING = Progress("waiting", 5.0, "no clients")


def test_what_has_not_changed_stays_as_it_is() -> None:
    assert progressed(WAITING, "waiting", "no clients", 9.0) is WAITING


@pytest.mark.parametrize(
    ("before", "state", "reason", "since"),
    [
        (None, "moving", None, 9.0),
        (None, "stalled", "no room", 9.0),
        (WAITING, "waiting", "fewer clients", 5.0),
        (WAITING, "stalled", "no room", 5.0),  # it still makes no progress
        (WAITING, "moving", None, 9.0),
        (Progress("moving", 5.0), "waiting", "no clients", 9.0),
    ],
)
def test_since_when_it_makes_no_progress(
    before: Progress | None, state: ProgressState, reason: str | None, since: float
) -> None:
    assert progressed(before, state, reason, 9.0) == Progress(state, since, reason)
