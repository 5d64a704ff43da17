"""Hold candidates together with their numbers as arrays, which are made only once."""

from collections.abc import Iterable
from functools import cached_property
from typing import Self

from tcsfeel.selection.columns import Columns
from tcsfeel.selection.types import Candidate


class Candidates(tuple[Candidate, ...]):  # noqa: SLOT001  (it needs a place for what is made only once)
    """Some candidates. It is a tuple of them, which also knows their `ids` and `columns`."""

    @classmethod
    def of(
        cls, candidates: Iterable[Candidate], columns: Columns | None = None, ids: tuple[str, ...] | None = None
    ) -> Self:
        """Return the candidates. Their `columns` and `ids` are made when they are needed, unless they are given."""
        if isinstance(candidates, cls) and columns is None:
            return candidates
        made = cls(candidates)
        if columns is not None:
            made.__dict__["columns"] = columns
        if ids is not None:
            made.__dict__["ids"] = ids
        return made

    @cached_property
    def columns(self) -> Columns:
        """The numbers of the candidates, in their order."""
        return Columns.of(self)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of the candidates, in their order."""
        return tuple([one.client_id for one in self])
