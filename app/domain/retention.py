"""Which model versions of a training are kept."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Besides what is always kept: the newest `keep_last` versions (at least 1), and the one with the best accuracy."""

    keep_last: int = 10
    keep_best: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepable:
    """The facts that decide whether a version is kept. `accuracy` was measured in its round; None if it was not."""

    round: int
    sha256: str
    parent: str | None
    accuracy: float | None
    pinned: bool


def superfluous(retention: Retention, versions: Sequence[Keepable], *, goes_on: bool) -> list[int]:
    """Return the rounds of the versions that need not be kept, oldest first. `versions` may be in any order.

    Kept are the newest ones, the best one (of equal ones the newest), those that are pinned, and

    - round 0, from which the training can be run again with its seed;
    - while the training `goes_on`, the newest version and its parent: an open round's base model is one of them, and
      the next round begins from the newest and reads the parent for server momentum.

    The last two are kept by their content: all versions with the same content are kept, since rounds read files by
    name.
    """
    newest_first = sorted(versions, key=lambda version: version.round, reverse=True)
    measured = [version for version in newest_first if version.accuracy is not None]
    kept = {version.round for version in newest_first[: retention.keep_last]}
    if retention.keep_best and measured:
        kept.add(max(measured, key=lambda version: version.accuracy or 0.0).round)
    needed = {newest_first[0].sha256, newest_first[0].parent} if goes_on and newest_first else set()
    return sorted(
        version.round
        for version in versions
        if not (version.round == 0 or version.pinned or version.round in kept or version.sha256 in needed)
    )
