"""Read what the server remembers from round to round, and send with fit tasks what SCAFFOLD remembers.

SCAFFOLD's state is the server's control variate. It has to begin at 0 together with those of the devices. So the state
says in its metadata to which training it belongs, and with which version it was 0. Devices do not use what they have
made before. A training that starts from another one's version does not use its control variates, because the devices
have none for it. All functions of this module block.
"""

from typing import NamedTuple

from app.domain.errors import NotFound
from app.domain.trainings import TrainingConfig
from app.services.rounds.parts import global_part, trained_part
from app.services.tasks.assignments import Frozen, ToSend
from app.store.model_store import ModelFiles, ModelStore
from app.store.models import ModelVersion
from tcsfeel.aggregation import Parameters
from tcsfeel.aggregation.scaffold import zeros
from tcsfeel.aggregation.statistics import learnt
from tcsfeel.errors import Invalid, UnusableRound
from tcsfeel.wire.codec import Packed, pieces, unpack
from tcsfeel.wire.control import joined
from tcsfeel.wire.errors import WireError

TRAINING, SINCE = "training", "since"


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
    if base.optimiser_state is None:
        return None
    try:
        state, metadata = unpack(models.map(base.optimiser_state))
        return None if config.aggregation == "scaffold" and metadata.get(TRAINING) != base.training_id else state
    except NotFound as error:
        raise UnusableRound(f"the state of the server optimiser is missing: {error}") from error


def metadata_of_state(models: ModelFiles, config: TrainingConfig, base: ModelVersion) -> dict[str, str] | None:
    """Return the metadata of the state that the round after `base` makes."""
    if config.aggregation != "scaffold":
        return None
    return {TRAINING: base.training_id, SINCE: str(_since(models, base))}


class NoRoomForControl(Invalid):
    """A model has a tensor that keeps control variates from being sent with it."""

    def __init__(self, problem: WireError) -> None:
        super().__init__("", f"the model cannot be trained with SCAFFOLD: {problem}")


def check_room(config: TrainingConfig, parameters: Parameters) -> None:
    """Raise `NoRoomForControl` if control variates cannot be sent with a model."""
    if config.aggregation != "scaffold":
        return
    trained = trained_part(config.parameters, parameters)
    try:
        joined(global_part(config.parameters, parameters), zeros(trained, learnt(trained, config.statistics)))
    except WireError as error:
        raise NoRoomForControl(error) from error


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
        return Controlled(ToSend(with_them(plain.model), frozen), _since(models, base))
    except WireError as error:
        raise UnusableRound(f"the model cannot be trained with SCAFFOLD: {error}") from error


def _since(models: ModelFiles, base: ModelVersion) -> int:
    if base.optimiser_state is None:
        return base.round
    metadata = unpack(models.map(base.optimiser_state))[1]
    return int(metadata[SINCE]) if metadata.get(TRAINING) == base.training_id else base.round
