"""Hold candidates together with their numbers as arrays, which are made only once."""

from collections.abc import Container, Iterable, Mapping
from functools import cached_property
from typing import Self

import numpy as np

from tcsfeel.selection.columns import Columns
from tcsfeel.selection.types import Candidate


class Candidates(tuple[Candidate, ...]):  # noqa: SLOT001  (it needs a place for what is made only once)
    """Some candidates. It is a tuple of them, which also knows their `ids`, `columns` and more."""

    @classmethod
    def of(
        cls,
        candidates: Iterable[Candidate],
        columns: Columns | None = None,
        ids: tuple[str, ...] | None = None,
        places: Mapping[str, int] | None = None,
        *,
        sketched: bool = True,
    ) -> Self:
        """Return the candidates. What is not given is made when it is needed. If not `sketched`, none has a sketch."""
        if isinstance(candidates, cls) and columns is None:
            return candidates
        made = cls(candidates)
        given = {"columns": columns, "ids": ids, "places": places, "sketches": None if sketched else {}}
        made.__dict__.update((name, value) for name, value in given.items() if value is not None)
        return made

    def without(self, out: Container[str]) -> Self:
        """Return the others, with their numbers."""
        kept = [place for place, client_id in enumerate(self.ids) if client_id not in out]
        return self.of([self[place] for place in kept], self.columns.at(np.array(kept, np.intp)))

    @cached_property
    def columns(self) -> Columns:
        """The numbers of the candidates, in their order."""
        return Columns.of(self)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of the candidates, in their order."""
        return tuple([one.client_id for one in self])

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The positions by id."""
        return dict(zip(self.ids, range(len(self)), strict=True))

    @cached_property
    def sketches(self) -> Mapping[int, tuple[float, ...]]:
        """The known sketches, by position."""
        return {place: one.sketch for place, one in enumerate(self) if one.sketch is not None}
