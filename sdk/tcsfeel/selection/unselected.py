"""Say why many clients were not selected, in text that is written when it is read.

A strategy has the same few reasons for ten thousand clients, with other numbers. To write that many sentences takes
longer than to select, and most are never read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.types import Skipped

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class Phrase:
    """Reasons with a number in them.

    Attributes:
        texts: the reasons, for `str.format` with the number.
        numbers: (N,) those of the candidates.
        which: (N,) the positions of the candidates' reasons in `texts`; None for the first one.
    """

    texts: tuple[str, ...]
    numbers: npt.NDArray[np.floating]
    which: npt.NDArray[np.integer] | None = None

    @classmethod
    def of(cls, texts: Sequence[str], numbers: npt.ArrayLike, which: npt.ArrayLike) -> "Phrase":
        """Keep the texts that are used, and the numbers in single precision."""
        used, place = np.unique(np.asarray(which, np.intp), return_inverse=True)
        kept = np.clip(np.nan_to_num(numbers, posinf=LARGEST), -LARGEST, LARGEST).astype(np.float32)
        return cls(tuple([texts[one] for one in used]), kept, place.astype(np.min_scalar_type(len(used))))

    @staticmethod
    def quoted(text: str) -> str:
        """Return the text as a part of a reason."""
        return text.replace("{", "{{").replace("}", "}}")

    def __call__(self, position: int) -> str:
        """Return the reason of a candidate."""
        text = self.texts[0 if self.which is None else self.which[position]]
        return text.format(self.numbers[position])


@dataclass(frozen=True, slots=True, eq=False)
class Unselected(Sequence[Skipped]):
    """The candidates that were not selected, and after them `others` with any reasons.

    Attributes:
        client_ids: all N candidates.
        phrase: why each of them was not selected.
        chosen: the positions of those that were selected, in ascending order.
        others: the clients that were skipped for another reason.
    """

    client_ids: tuple[str, ...]
    phrase: Phrase
    chosen: tuple[int, ...] = ()
    others: tuple[Skipped, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.client_ids) - len(self.chosen) + len(self.others)

    @overload
    def __getitem__(self, index: int) -> Skipped: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Skipped]: ...
    def __getitem__(self, index: int | slice) -> Skipped | Sequence[Skipped]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        for one in self.chosen:
            position += one <= position
        if position >= len(self.client_ids):
            return self.others[position - len(self.client_ids)]
        return Skipped(self.client_ids[position], self.phrase(position))

    def __iter__(self) -> Iterator[Skipped]:
        chosen = frozenset(self.chosen)
        for position, client_id in enumerate(self.client_ids):
            if position not in chosen:
                yield Skipped(client_id, self.phrase(position))
        yield from self.others

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self.client_ids)


def joined(skipped: Sequence[Skipped], others: Sequence[Skipped]) -> Sequence[Skipped]:
    """Return `skipped` with `others` after them."""
    if isinstance(skipped, Unselected):
        return replace(skipped, others=(*skipped.others, *others))
    return (*skipped, *others)
