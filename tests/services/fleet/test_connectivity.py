"""The newest matrix is in memory once it has been written or read here, until somebody else writes another."""

import pytest

from app.clock import SystemClock
from app.services.fleet.connectivity import ConnectivityMatrix, LatestConnectivity
from app.store.database import Database
from tcsfeel.network.connectivity import Connectivity, Edge


def matrix(db: Database) -> ConnectivityMatrix:
    return ConnectivityMatrix(db, LatestConnectivity(), SystemClock())


async def test_what_was_stored_here_is_not_loaded_again(sqlite: Database) -> None:
    value = Connectivity.from_edges("ab", [Edge("a", "b", 1)])
    ours = matrix(sqlite)

    version = await ours.replace(lambda _: value)

    latest = await ours.latest()
    assert (latest.version, latest.costs) == (version, value.costs)
    assert await ours.latest() is latest


async def test_what_another_server_stored_is(sqlite: Database) -> None:
    ours, other = matrix(sqlite), matrix(sqlite)
    await ours.replace(lambda _: Connectivity.from_edges("ab", [Edge("a", "b", 1)]))

    version = await other.replace(lambda _: Connectivity.from_edges("ab", [Edge("a", "b", 2)]))

    latest = await ours.latest()
    assert (latest.version, list(latest.edges())) == (version, [Edge("a", "b", 2.0)])


async def test_nothing_is_kept_of_what_could_not_be_stored(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = matrix(sqlite)

    async def fail(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr("app.store.events.EventRepository.append", fail)
    with pytest.raises(OSError):
        await ours.replace(lambda _: Connectivity.from_edges("ab", [Edge("a", "b", 1)]))

    assert (await ours.latest()).version == 0
