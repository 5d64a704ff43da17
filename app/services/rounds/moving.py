"""Move the update of a carried task from the model that it began with to the model of the round that takes it in.

What counts of such an update is its difference to the model that it began with. So the file of the update is replaced
by one that makes the same difference to the round's model, and everything else works with that: the checks, the norms,
and the aggregation. The same upload and the same two models give the same bytes.

Only tensors that are learnt are moved. Running statistics, integers and booleans measure or count something: their
difference means nothing, and a variance would become negative. They stay as the client has sent them. The functions
block: call them from a thread.
"""

from collections.abc import Collection, Iterator
from itertools import chain

import numpy as np

from app.services.rounds.uploads import FullUpdate
from app.store.model_store import ModelStore, give_back
from tcsfeel.aggregation.statistics import learnt
from tcsfeel.aggregation.updates import Parameters
from tcsfeel.wire.codec import Packed
from tcsfeel.wire.headers import header
from tcsfeel.wire.tasks import result_metadata

BLOCK = 1 << 18  # values


def moved(
    spool: ModelStore, update: FullUpdate, base: Packed, present: Packed, statistics: Collection[str]
) -> FullUpdate:
    """Return the update with the difference that it makes to `base`, made to `present`.

    An update with other tensors than the models is returned as it is: the checks refuse it.

    Args:
        spool: the place of the update and of the result.
        update: in full.
        base: the model that its training began with.
        present: the model of the round, with the same tensors.
        statistics: patterns for more names of statistics; see `learnt`.
    """
    after, before, now = update.packed.parameters(), base.parameters(), present.parameters()
    if _form(after) != _form(now):
        return update
    top = header(present.layout, result_metadata(update.result))
    block = _block(after, before, now, present, learnt(now, statistics))
    released = (_released(piece, update.packed, base, present) for piece in block)
    file = spool.write(chain([top], released))
    if file != update.file:
        spool.remove(update.file.sha256)
    return FullUpdate(file, update.encoding, Packed(present.layout, spool.map(file.sha256)[len(top) :]), update.result)


def _block(
    after: Parameters, before: Parameters, now: Parameters, present: Packed, movable: Collection[str]
) -> Iterator[memoryview]:
    """Yield the block of the moved update in the layout of `present`, in pieces. It is computed in float64."""
    for name, _ in sorted(present.layout.items(), key=lambda item: item[1].start):
        update, start, here = (np.ascontiguousarray(one[name]).reshape(-1) for one in (after, before, now))
        for begin in range(0, update.size, BLOCK):
            rows = slice(begin, begin + BLOCK)
            piece = update[rows]
            if name in movable:
                with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the checks
                    difference = piece.astype(np.float64) - start[rows].astype(np.float64)
                    piece = (here[rows].astype(np.float64) + difference).astype(here.dtype)
            yield piece.view(np.uint8).data


def _form(parameters: Parameters) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (tensor.shape, tensor.dtype.str) for name, tensor in parameters.items()}


def _released(piece: memoryview, *mapped: Packed) -> memoryview:
    for one in mapped:
        give_back(one.block)
    return piece
