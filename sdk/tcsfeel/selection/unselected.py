"""Say why many clients were not selected, in text that is written when it is read.

A strategy that draws lots has the same reason for each of ten thousand clients, with another number in it. To write
that many sentences takes longer than to select, and in most rounds they are never read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.types import Skipped


@dataclass(frozen=True, slots=True, eq=False)
class Phrase:
    """A reason with a number in it.

    Attributes:
        text: the reason, with a place for the number, as `str.format` wants it.
        numbers: (N,) the number of each candidate.
    """

    text: str
    numbers: npt.NDArray[np.float32]

    def __call__(self, position: int) -> str:
        """Return the reason of the candidate at this position."""
        return self.text.format(self.numbers[position])


@dataclass(frozen=True, slots=True, eq=False)
class Unselected(Sequence[Skipped]):
    """Clients that were not selected, each with the same phrase, and after them `others` with any reasons.

    Attributes:
        client_ids: the N clients that the phrase is about.
        phrase: why they were not selected.
        others: the clients that were skipped for another reason.
    """

    client_ids: tuple[str, ...]
    phrase: Phrase
    others: tuple[Skipped, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.client_ids) + len(self.others)

    @overload
    def __getitem__(self, index: int) -> Skipped: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Skipped]: ...
    def __getitem__(self, index: int | slice) -> Skipped | Sequence[Skipped]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        if place >= len(self.client_ids):
            return self.others[place - len(self.client_ids)]
        return Skipped(self.client_ids[place], self.phrase(place))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self.client_ids)


def joined(skipped: Sequence[Skipped], others: Sequence[Skipped]) -> Sequence[Skipped]:
    """Return `skipped` with `others` after them."""
    if isinstance(skipped, Unselected):
        return replace(skipped, others=(*skipped.others, *others))
    return (*skipped, *others)
