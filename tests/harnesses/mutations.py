"""The product with one of its promises broken, for a harness to find out. Installed in replicas' processes only."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, update

from app.domain.rounds import Participation
from app.store.leases import Lease, LeaseRepository
from app.store.models import ModelVersion, ModelVersionRepository
from app.store.rounds import RoundRepository
from app.store.tables import model_versions, participations


def no_fence() -> None:
    """A write is not guarded: whoever has lost the lease writes all the same."""

    async def guard(_self: LeaseRepository, _lease: Lease) -> None:
        pass

    _replace(LeaseRepository, "guard", guard)


def settle_twice() -> None:
    """A participation is written, and counted, also where it has come to its end before."""

    async def settle(
        self: RoundRepository, training_id: str, number: int, settled: Collection[Participation]
    ) -> dict[str, Participation]:
        for participation in settled:
            row = asdict(participation)
            matches = (
                (participations.c.training_id == training_id)
                & (participations.c.round == number)
                & (participations.c.client_id == row.pop("client_id"))
            )
            await self._connection.execute(update(participations).where(matches).values(row))
        return {participation.client_id: participation for participation in settled}

    _replace(RoundRepository, "settle", settle)


def replace_model() -> None:
    """A second model version of a round takes the place of the first."""
    add = ModelVersionRepository.add

    async def put(self: ModelVersionRepository, version: ModelVersion) -> None:
        same = (model_versions.c.training_id == version.training_id) & (model_versions.c.round == version.round)
        await self._connection.execute(delete(model_versions).where(same))
        await add(self, version)

    _replace(ModelVersionRepository, "add", put)


MUTATIONS: Mapping[str, Callable[[], None]] = {
    "no-fence": no_fence,
    "settle-twice": settle_twice,
    "replace-model": replace_model,
}


def install(name: str) -> None:
    MUTATIONS[name]()


def _replace(owner: type, name: str, replacement: Any) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner.__name__} has no {name!r} any more that could be broken")
    setattr(owner, name, replacement)
