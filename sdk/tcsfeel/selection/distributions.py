"""Store the label distributions of clients in little memory.

A fleet of ten thousand clients may report ten million counts. In lists and dictionaries of numbers they would take
gigabytes, and freeing those stops the interpreter for a fifth of a second. Here the counts of a client are one array,
and clients that name the same labels share the names.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import overload

from tcsfeel.selection.types import DataDistribution


class Names:
    """The names of labels in their order."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels

    @cached_property
    def place(self) -> Mapping[str, int]:
        """Return the position of each label."""
        return {label: position for position, label in enumerate(self.labels)}


class ByPosition(Sequence[float]):
    """Counts or shares by position."""

    __slots__ = ("counts",)

    def __init__(self, counts: "array[float]") -> None:
        self.counts = counts

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[float]:
        return iter(self.counts)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[float]: ...
    def __getitem__(self, index: int | slice) -> float | Sequence[float]:
        return self.counts[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none

    def __repr__(self) -> str:
        return repr(self.counts.tolist())


class ByLabel(Mapping[str, float]):
    """Counts or shares by label, in the order of `names`."""

    __slots__ = ("counts", "names")

    def __init__(self, names: Names, counts: "array[float]") -> None:
        self.names = names
        self.counts = counts

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names.labels)

    def __getitem__(self, label: str) -> float:
        return self.counts[self.names.place[label]]

    def __repr__(self) -> str:
        return repr(dict(self))


class Packer:
    """Packs the distributions of a fleet; each label's text is kept once."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._names: dict[tuple[str, ...], Names] = {}

    def packed(self, given: DataDistribution) -> ByPosition | ByLabel:
        """Return the same counts, with named labels in the same order."""
        if isinstance(given, ByPosition | ByLabel):
            return given
        if isinstance(given, Mapping):
            labels = tuple(map(self._labels.setdefault, given, given))
            return ByLabel(self.named(labels), array("d", given.values()))
        return ByPosition(array("d", given))

    def by_label(self, given: DataDistribution) -> ByLabel:
        """Return the same counts, where position i is the label "i"."""
        found = self.packed(given)
        if isinstance(found, ByLabel):
            return found
        labels = tuple(self._labels.setdefault(label, label) for label in map(str, range(len(found))))
        return ByLabel(self.named(labels), found.counts)

    def named(self, labels: tuple[str, ...]) -> Names:
        """Return the labels, shared with every distribution that names the same ones."""
        return self._names.setdefault(labels, Names(labels))


def plain(given: DataDistribution | None) -> list[float] | dict[str, float] | None:
    """Return a distribution as a plain list or dictionary."""
    if isinstance(given, ByPosition):
        return given.counts.tolist()
    if given is None or isinstance(given, list | dict):
        return given
    return dict(given) if isinstance(given, Mapping) else list(given)
