"""The tensors of a model that do not travel like the others, by patterns of their names."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from tcsfeel.errors import Invalid
from tcsfeel.wire.groups import matching, unmatched


class NothingToTrain(Invalid):
    """Every tensor of a model stays on the devices or never changes."""

    def __init__(self) -> None:
        super().__init__(
            "/parameters",
            "leave nothing to train: every tensor of the model matches a pattern of local or frozen;"
            " change these patterns, or the model",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGroups:
    """Patterns over whole names of tensors (`tcsfeel.wire.groups`).

    Attributes:
        local: tensors that stay on the devices; no model version holds them. They come first if several groups match.
        frozen: tensors that never change; each device gets them once.
    """

    local: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    def global_of(self, names: Collection[str]) -> list[str]:
        """Return the names that model versions hold, in their order."""
        local = matching(names, self.local)
        return [name for name in names if name not in local]

    def frozen_of(self, names: Collection[str]) -> frozenset[str]:
        """Return the names of the frozen tensors."""
        return matching(self.global_of(names), self.frozen)

    def trained_of(self, names: Collection[str]) -> list[str]:
        """Return the names that updates hold, in their order."""
        frozen = self.frozen_of(names)
        return [name for name in self.global_of(names) if name not in frozen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """The patterns of each group that match no tensor of a training's first model."""

    averaged: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.averaged or self.local or self.frozen)

    def within(self, averaged: Collection[str]) -> "Unmatched | None":
        """Return those of a training whose patterns of `averaged` are these; None if there are none."""
        left = replace(self, averaged=tuple(pattern for pattern in self.averaged if pattern in averaged))
        return left or None


def unmatched_of(
    groups: ParameterGroups, averaged: Collection[str], names: Collection[str], *, local: Collection[str] | None = None
) -> Unmatched:
    """Find the patterns that match no tensor.

    Args:
        groups: of the training.
        averaged: its patterns for tensors that are averaged.
        names: of the tensors as they came.
        local: the patterns of local tensors that match none, if the agent says it: it may have left them out.
    """
    said = frozenset(unmatched(names, groups.local) if local is None else local)
    return Unmatched(
        averaged=unmatched(names, averaged),
        local=tuple(pattern for pattern in groups.local if pattern in said),
        frozen=unmatched(names, groups.frozen),
    )
