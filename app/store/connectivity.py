"""The connectivity matrix, with one row for each version: its client ids, and its links as an array file.

For ten thousand clients, a dense matrix would take hundreds of megabytes, and one row for each link would be millions
of rows. So the sparse float32 arrays are stored on which the domain works. For a matrix with many links, only the half
above the diagonal is stored, with a bit for each pair, which takes less space than the positions. Nothing is
compressed, because that takes seconds and hardly makes the costs smaller.
"""

import io
from itertools import pairwise

import numpy as np
from sqlalchemy import delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import connectivity, rounds
from app.threads import in_thread
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.network.matrix import csr, from_dense

INDEX_BITS = 32


class ConnectivityRepository:
    """Versions of the matrix, counted up from 1; version 0 is the empty one that was never stored."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self) -> None:
        """Keep other writers of the matrix out until the transaction ends; on SQLite there is only one anyway."""
        if self._connection.dialect.name == "postgresql":
            await self._connection.execute(text("LOCK TABLE connectivity IN EXCLUSIVE MODE"))

    async def latest_version(self) -> int:
        """Read the number of the newest version; 0 if none was stored."""
        query = select(connectivity.c.version).order_by(connectivity.c.version.desc()).limit(1)
        return (await self._connection.execute(query)).scalar() or 0

    async def latest(self) -> Connectivity:
        """Read the newest version; the empty one if none was stored."""
        query = select(connectivity).order_by(connectivity.c.version.desc()).limit(1)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            return Connectivity.empty()
        return await in_thread("matrices", _unpack, row.client_ids, row.links, row.version)

    async def add(self, value: Connectivity, now: float) -> int:
        """Store `value` as the newest version and return its number. Versions that no round uses are removed."""
        links = await in_thread("matrices", _pack, value)
        row = {"client_ids": list(value.client_ids), "links": links, "created_at": now}
        version: int = (
            await self._connection.execute(insert(connectivity).values(row).returning(connectivity.c.version))
        ).scalar_one()
        named = select(rounds.c.connectivity_version).where(rounds.c.connectivity_version.is_not(None))
        old = connectivity.c.version < version
        await self._connection.execute(delete(connectivity).where(old, connectivity.c.version.not_in(named)))
        return version


def _pack(value: Connectivity) -> bytes:
    """Make the three arrays of a CSR matrix, or two smaller ones if more than one pair in `INDEX_BITS` is linked."""
    costs, size = value.costs, len(value.client_ids)
    arrays = {"indptr": costs.indptr, "indices": costs.indices, "data": costs.data}
    if costs.nnz * INDEX_BITS > size * size:
        linked = np.zeros((size, size), dtype=bool)
        above = []
        for row, (start, end) in enumerate(pairwise(costs.indptr.tolist())):
            first = start + np.searchsorted(costs.indices[start:end], row)
            linked[row, costs.indices[first:end]] = True
            above.append(costs.data[first:end])
        arrays = {"linked": np.packbits(linked), "above": np.concatenate(above)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _unpack(client_ids: list[str], links: bytes, version: int) -> Connectivity:
    size = len(client_ids)
    with np.load(io.BytesIO(links), allow_pickle=False) as arrays:
        if "linked" in arrays:
            linked = np.unpackbits(arrays["linked"], count=size * size).reshape(size, size).view(bool)
            dense = np.full((size, size), np.inf, dtype=np.float32)
            dense[linked] = arrays["above"]
            costs = from_dense(np.minimum(dense, dense.T))
        else:
            costs = csr(arrays["data"], arrays["indices"], arrays["indptr"], size)
    return Connectivity(tuple(client_ids), costs, version)
