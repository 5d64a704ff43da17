"""Break one promise of the product, so that a harness can find it. This is only installed in processes of replicas."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from types import ModuleType
from typing import Any

from sqlalchemy import delete, update

from app.domain import relays
from app.domain.rounds import Participation, Round
from app.store.carried import CarriedRepository
from app.store.leases import Lease, LeaseRepository
from app.store.models import ModelVersion, ModelVersionRepository
from app.store.rounds import RoundRepository
from app.store.tables import model_versions, participations


def no_fence() -> None:
    """Let an owner write although it has lost its lease."""

    async def guard(_self: LeaseRepository, _lease: Lease) -> None:
        pass

    _replace(LeaseRepository, "guard", guard)


def settle_twice() -> None:
    """Write and count a participation again although it has already ended."""

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
    """Let a second model version of a round replace the first."""
    add = ModelVersionRepository.add

    async def put(self: ModelVersionRepository, version: ModelVersion) -> None:
        same = (model_versions.c.training_id == version.training_id) & (model_versions.c.round == version.round)
        await self._connection.execute(delete(model_versions).where(same))
        await add(self, version)

    _replace(ModelVersionRepository, "add", put)


def carry_twice() -> None:
    """Take a carried task into the round after the next one as well, so that its update counts in both."""

    async def take_in(self: CarriedRepository, training_id: str, _to: int) -> int:
        return len(await self.open(training_id))

    _replace(CarriedRepository, "take_in", take_in)


def child_twice() -> None:
    """Count each child of a relay twice when the means of a round are weighed."""
    once = relays.by_file

    def by_file(round_: Round) -> list[list[Participation]]:
        return [[*members, *members[1:]] for members in once(round_)]

    _replace(relays, "by_file", by_file)


MUTATIONS: Mapping[str, Callable[[], None]] = {
    "no-fence": no_fence,
    "settle-twice": settle_twice,
    "replace-model": replace_model,
    "carry-twice": carry_twice,
    "child-twice": child_twice,
}


def install(name: str) -> None:
    MUTATIONS[name]()


def _replace(owner: type | ModuleType, name: str, replacement: Any) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner.__name__} has no {name!r} any more that could be broken")
    setattr(owner, name, replacement)
