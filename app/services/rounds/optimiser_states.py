"""Read what the server remembers from round to round, and send with fit tasks what SCAFFOLD remembers.

SCAFFOLD's state is the server's control variate. It has to begin at 0 together with those of the devices. So the state
says in its metadata with which version it was 0, and devices do not use what they have made before. All functions of
this module block.
"""

from typing import NamedTuple

from app.domain.errors import NotFound
from app.domain.trainings import TrainingConfig
from app.services.tasks.assignments import Frozen, ToSend
from app.store.model_store import ModelFiles, ModelStore
from app.store.models import ModelVersion
from tcsfeel.aggregation.scaffold import zeros
from tcsfeel.aggregation.statistics import learnt
from tcsfeel.errors import UnusableRound
from tcsfeel.wire.codec import Packed, pieces, unpack
from tcsfeel.wire.control import joined
from tcsfeel.wire.errors import WireError

SINCE = "since"


class Controlled(NamedTuple):
    """What fit tasks bring if the training uses SCAFFOLD: files of the spool, so that they take no memory.

    Attributes:
        sent: what tasks carry of the model, with the server's control variates.
        since: the number of the version with which the server's control variates were 0.
    """

    sent: ToSend
    since: int


def kept_state(models: ModelFiles, config: TrainingConfig, base: ModelVersion) -> Packed | None:
    """Load the state that belongs to a version, None if there is none. Raises `UnusableRound` if it is lost."""
    if base.optimiser_state is None or _is_anothers(config, base):
        return None
    try:
        return unpack(models.map(base.optimiser_state))[0]
    except NotFound as error:
        raise UnusableRound(f"the state of the server optimiser is missing: {error}") from error


def metadata_of_state(models: ModelFiles, config: TrainingConfig, base: ModelVersion) -> dict[str, str] | None:
    """Return the metadata of the state that the round after `base` makes."""
    return {SINCE: str(_since(models, config, base))} if config.aggregation == "scaffold" else None


def with_control(
    models: ModelFiles, config: TrainingConfig, base: ModelVersion, plain: ToSend, spool: ModelStore
) -> Controlled:
    """Add the server's control variates to what fit tasks carry of the base model. Raises `UnusableRound`."""
    state, trained = kept_state(models, config, base), plain.model.parameters()
    control = zeros(trained, learnt(trained, config.statistics)) if state is None else state.parameters()

    def with_them(model: Packed) -> Packed:
        file = spool.write(pieces(joined(model.parameters(), control)))
        return unpack(spool.map(file.sha256))[0]

    try:
        frozen = None if plain.frozen is None else Frozen(plain.frozen.id, with_them(plain.frozen.whole))
        return Controlled(ToSend(with_them(plain.model), frozen), _since(models, config, base))
    except WireError as error:
        raise UnusableRound(f"the model cannot be trained with SCAFFOLD: {error}") from error


def _since(models: ModelFiles, config: TrainingConfig, base: ModelVersion) -> int:
    if base.optimiser_state is None or _is_anothers(config, base):
        return base.round
    return int(unpack(models.map(base.optimiser_state))[1].get(SINCE, "0"))


def _is_anothers(config: TrainingConfig, base: ModelVersion) -> bool:
    """Tell whether the state is another training's, to which the devices have no control variates."""
    return config.aggregation == "scaffold" and base.round == 0
