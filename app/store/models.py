"""Model versions: which parameters a training had after which round. The bytes are in the model store."""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.store.tables import model_versions


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """Immutable parameters, named by the SHA-256 of their file; round 0 is the initial model. Size in bytes.

    `optimiser_state` names the file of what the server optimiser remembers after this version, None if nothing.
    """

    training_id: str
    round: int
    sha256: str
    parent: str | None
    size: int
    created_at: float
    optimiser_state: str | None = None


class ModelVersionRepository:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, version: ModelVersion) -> None:
        """A second version for the same round breaks the primary key: a round gives one model."""
        row = {name: getattr(version, name) for name in ModelVersion.__slots__}
        await self._connection.execute(insert(model_versions).values(row))

    async def replace_initial(self, version: ModelVersion) -> None:
        """Put `version` in the place of the initial one, if there is one."""
        initial = (model_versions.c.training_id == version.training_id) & (model_versions.c.round == 0)
        await self._connection.execute(delete(model_versions).where(initial))
        await self.add(version)

    async def get(self, training_id: str, round_number: int | None = None) -> ModelVersion:
        """The version of a round, or the newest. Raises `NotFound`."""
        query = select(model_versions).where(model_versions.c.training_id == training_id)
        if round_number is not None:
            query = query.where(model_versions.c.round == round_number)
        query = query.order_by(model_versions.c.round.desc()).limit(1)
        row = (await self._connection.execute(query)).mappings().one_or_none()
        if row is None:
            wanted = training_id if round_number is None else f"{training_id} after round {round_number}"
            raise NotFound("model of training", wanted)
        return ModelVersion(**row)

    async def find(self, training_id: str, sha256: str) -> ModelVersion:
        """The version with these parameters. Raises `NotFound`."""
        query = select(model_versions).where(
            model_versions.c.training_id == training_id, model_versions.c.sha256 == sha256
        )
        row = (
            (await self._connection.execute(query.order_by(model_versions.c.round.desc()).limit(1))).mappings().first()
        )
        if row is None:
            raise NotFound("model", sha256)
        return ModelVersion(**row)
