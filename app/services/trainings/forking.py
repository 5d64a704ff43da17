"""Start a training from a model version of another one.

The caller holds the row of the other training, without whose lock no version of it and no state is removed. So what is
found there is named by the new training before it can go.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from app.domain.errors import NotFound, Removed
from app.domain.trainings import OF_HYPERPARAMETERS, Origin, Training, TrainingConfig
from app.origins import current_origin
from app.store.models import ModelVersion
from app.store.transaction import Transaction
from tcsfeel.aggregation.server import keeps_state, reads_parent
from tcsfeel.errors import Invalid

OTHERS = "start from a version that is still kept, and pin those that should stay"
WITHOUT = (
    "only those of the newest version and of pinned ones are kept; start from the newest version, or without the "
    "optimiser's state"
)
WITHOUT_PARENT = (
    "only that of the newest version is always kept; start from the newest version, or without the optimiser's state, "
    "and pin both versions if you need them later"
)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a new training starts: after a round of another one, None for its newest version.

    With `optimiser`, the state of the server optimiser is taken over, too.
    """

    training_id: str
    round: int | None = None
    optimiser: bool = False


async def forked(
    tx: Transaction, start: Start, configured: Callable[[Training], TrainingConfig], training_id: str, now: float
) -> Training:
    """Store a training that starts from a version, with the configuration that `configured` makes of the other one.

    Its rounds go on with the numbers of the other one's. Raises `Invalid`, `Removed`, and what `configured` raises.
    """
    source = await _source(tx, start)
    version = await _version(tx, start)
    config = configured(source)
    _check(start, source, version, config)
    parent = await _parent(tx, source, version) if start.optimiser and _reads_parent(config) else None
    training = Training(
        id=training_id,
        config=config,
        created_at=now,
        updated_at=now,
        created_by=current_origin().actor,
        current_round=version.round,
        model=version.sha256,
        origin=Origin(training_id=source.id, round=version.round, model=version.sha256, optimiser=start.optimiser),
        unmatched=None if source.unmatched is None else source.unmatched.within(config.statistics),
    )
    own = replace(
        version,
        training_id=training_id,
        created_at=now,
        pinned_at=None,
        parent=None if parent is None else parent.sha256,
        optimiser_state=version.optimiser_state if start.optimiser else None,
    )
    await tx.trainings.add(training)
    if parent is not None:
        await tx.models.add(
            replace(own, round=parent.round, sha256=parent.sha256, size=parent.size, parent=None, optimiser_state=None)
        )
    await tx.models.add(own)
    await tx.sketches.copy(source.id, training_id)
    return training


async def _source(tx: Transaction, start: Start) -> Training:
    """Read and lock the training to start from."""
    try:
        return await tx.trainings.get(start.training_id, for_update=True)
    except NotFound as error:
        raise Invalid("/from/training", f"should be the id of a training: {error}") from None


async def _version(tx: Transaction, start: Start) -> ModelVersion:
    try:
        version = await tx.models.get(start.training_id, start.round)
    except NotFound as error:
        place = "/from/training" if start.round is None else "/from/round"
        raise Invalid(place, f"should have made a model: {error}") from None
    if version.removed_at is not None:
        raise Removed("model of round", str(version.round), OTHERS)
    return version


def _check(start: Start, source: Training, version: ModelVersion, config: TrainingConfig) -> None:
    """Refuse a configuration that cannot go on from the version."""
    if config.max_rounds <= version.round:
        raise Invalid("/max_rounds", f"should be more than {version.round}, the round that it starts after")
    before = source.config
    if config.parameters != before.parameters:
        raise Invalid(
            "/parameters", "local and frozen cannot change, since the training starts from a model: upload one instead"
        )
    if not start.optimiser:
        return
    if config.aggregation == "scaffold":
        raise Invalid("/from/optimiser", "should be false, since control variates belong to one training")
    if (config.aggregation, config.statistics) != (before.aggregation, before.statistics):
        raise Invalid("/from/optimiser", "should be false, since aggregation or statistics are other ones")
    made_with_it = version.round > source.begins_after or (source.origin is not None and source.origin.optimiser)
    if keeps_state(config) and version.optimiser_state is None and version.round > 0 and made_with_it:
        raise Removed("state of the server optimiser after round", str(version.round), WITHOUT)


def _reads_parent(config: TrainingConfig) -> bool:
    """Tell whether the next round may read the model before; it has a later number if the one before is abandoned."""
    schedule = config.schedules.get(f"{OF_HYPERPARAMETERS}server_momentum")
    if schedule is None:
        return reads_parent(config)
    largest = {"server_momentum": max(schedule.extremes().values())}
    return reads_parent(replace(config, hyperparameters={**config.hyperparameters, **largest}))


async def _parent(tx: Transaction, source: Training, version: ModelVersion) -> ModelVersion | None:
    """Read the version before a version; None if there was none."""
    if version.parent is None:
        return None
    earlier = [one.version for one in await tx.models.kept(source.id) if one.version.round < version.round]
    found = next((one for one in earlier if one.sha256 == version.parent), None)
    if found is None:
        raise Removed("model before that of round", f"{version.round}, which server momentum reads,", WITHOUT_PARENT)
    return found
