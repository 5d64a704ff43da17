"""Which model versions of a training are kept."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tcsfeel.aggregation.goals import Goal


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Says what is kept besides what always is: the newest `keep_last` (at least 1), and the best by the goal."""

    keep_last: int = 10
    keep_best: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepable:
    """The facts that decide whether a version is kept.

    `goal_value` was measured in its round; None if it was not. With `has_state`, a state of the server optimiser is
    kept beside it.
    """

    round: int
    sha256: str
    parent: str | None
    goal_value: float | None
    pinned: bool
    has_state: bool = False


def superfluous(
    retention: Retention | None,
    goal: Goal,
    versions: Sequence[Keepable],
    *,
    initial: int = 0,
    carried: Collection[str] = (),
) -> list[int]:
    """Return the rounds of the versions that need not be kept, oldest first. `versions` may be in any order.

    Without a retention, everything is kept. Kept are the newest ones, the best one (of equal ones the newest), those
    that are pinned, and

    - those up to round `initial`, from which the training can be run again with its seed;
    - those that `carried` tasks began with, by their SHA-256: an update counts as its difference to such a version;
    - the newest version and its parent: an open round's base model is one of them, and the next round begins from the
      newest and reads the parent for server momentum. A training that has ended may still be extended.

    The last three are kept by their content: all versions with the same content are kept, since rounds read files by
    name.
    """
    if retention is None:
        return []
    newest_first = sorted(versions, key=lambda version: version.round, reverse=True)
    best = goal.best(version.goal_value for version in newest_first)
    kept = {version.round for version in newest_first[: retention.keep_last]}
    if retention.keep_best and best is not None:
        kept.add(next(version.round for version in newest_first if version.goal_value == best))
    needed = {newest_first[0].sha256, newest_first[0].parent, *carried} if newest_first else set()
    return sorted(
        version.round
        for version in versions
        if not (version.round <= initial or version.pinned or version.round in kept or version.sha256 in needed)
    )


def superseded(versions: Sequence[Keepable]) -> list[int]:
    """Return the rounds of the versions whose optimiser's state need not be kept, oldest first.

    Kept are the state of the newest version, which the next round reads, and those of pinned versions.
    """
    newest = max((version.round for version in versions), default=None)
    return sorted(one.round for one in versions if one.has_state and not one.pinned and one.round != newest)
