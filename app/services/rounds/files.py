"""Parameters on their way through a round: loading, checking, averaging. It blocks: the engine calls it in threads."""

import math
import secrets
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from app.domain.clients import Client
from app.domain.measurements import reported
from app.domain.parameter_groups import NothingToTrain, ParameterGroups, Unmatched, unmatched_of
from app.domain.relays import facts_of_members, senders, with_members
from app.domain.rounds import Participation, Round
from app.domain.trainings import TrainingConfig
from app.domain.weighing import weights_of
from app.services.rounds.layouts import Layouts
from app.services.rounds.optimiser_states import check_room, kept_state, metadata_of_state
from app.services.rounds.parts import frozen_id, global_part, read_unmatched, trained_part, whole_block
from app.services.rounds.phase import Phase
from app.services.rounds.uploads import FullUpdate
from app.services.tasks.assignments import Frozen, Result, ToSend
from app.store.model_store import ModelFiles, ModelStore, StoredFile, give_back, remove_if_empty
from app.store.models import ModelVersion
from app.store.spools import Spool, SpooledFiles
from tcsfeel.aggregation import (
    UpdateFacts,
    Updates,
    check_examples,
    check_model,
    check_norm,
    check_update,
    check_weighable,
    length,
    longest,
    next_model,
    outliers,
)
from tcsfeel.aggregation.norms import LONGEST
from tcsfeel.errors import ModelNotFinite, UpdateRejected
from tcsfeel.selection.sketches import sketch
from tcsfeel.wire.codec import Packed, arrange, pieces, unpack
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.headers import header
from tcsfeel.wire.sizes import AnswerSize
from tcsfeel.wire.tasks import TaskResult, read_measurement

UPLOADS, SPARES = "uploads", "spares"  # beside the trainings' directories; no training has these ids


class Checked(NamedTuple):
    """An update that may be aggregated.

    Attributes:
        update: the update in full, and what its agent says of it.
        norm: how far it went from the model.
        sketch: what it says of its client's labels. None if the client says that itself, or if it says nothing.
    """

    update: FullUpdate
    norm: float
    sketch: tuple[float, ...] | None


class FirstModel(NamedTuple):
    """The file of a training's first model, and the patterns of the training that match none of its tensors."""

    file: StoredFile
    unmatched: Unmatched


@dataclass(frozen=True, slots=True)
class RoundFiles:
    """The model store, and beside it a spool of its own for each open round and each upload."""

    models: ModelFiles
    spool_directory: Path
    layouts: Layouts = field(default_factory=Layouts, compare=False)
    spooled_files: SpooledFiles = field(default_factory=SpooledFiles, compare=False)

    def spool(self, round_: Round) -> Spool:
        """Return the place for the answers of a round until it has ended. It only saves time: agents keep them too."""
        return self.spool_of(round_.training_id, round_.number)

    def spool_of(self, training_id: str, number: int) -> Spool:
        """Return the spool of a round by the id of its training and its number."""
        return Spool(self.spool_directory / training_id / str(number), self.spooled_files)

    def empty_spool(self, training_id: str, number: int) -> None:
        """Remove the spool of a round, and the directory of its training if no other spool is in it."""
        self.spool_of(training_id, number).clear()
        remove_if_empty(self.spool_directory / training_id)

    def recycle_spool(self, training_id: str, number: int) -> None:
        """Empty the spool of a round that has ended, and keep files for the answers of other rounds."""
        self.spool_of(training_id, number).recycle(self.spool_directory / SPARES)
        remove_if_empty(self.spool_directory / training_id)

    def upload(self) -> ModelStore:
        """Return a new place for one upload, until it has been checked."""
        return ModelStore(self.spool_directory / UPLOADS / secrets.token_hex(8), durable=False)

    def spooled(self) -> list[tuple[str, int]]:
        """List the rounds whose spools exist, each as its training and number."""
        found = {*self.spool_directory.glob("*/*"), *self.spooled_files.spools()}
        rounds = [path for path in found if path.parent.name not in {UPLOADS, SPARES} and path.name.isdecimal()]
        return [(path.parent.name, int(path.name)) for path in rounds]

    def sweep(self, seconds: float) -> int:
        """Remove unfinished files and uploads to which nothing was written for `seconds`. Returns how many.

        Directories of trainings without a spool and files that were kept for other rounds go too, but do not count.
        """
        self.spooled_files.spares.sweep(self.spool_directory / SPARES, seconds)
        uploads = [ModelStore(path) for path in (self.spool_directory / UPLOADS).glob("*")]
        abandoned = [upload for upload in uploads if upload.idle() > seconds]
        for upload in abandoned:
            upload.clear()
        for directory in self.spool_directory.glob("*"):
            remove_if_empty(directory)
        return self.models.sweep(seconds) + len(abandoned)

    def load(self, sha256: str) -> Packed:
        """A model, mapped. Raises `NotFound`."""
        return self.layouts.read(self.models.map(sha256))

    def adopt_initial(self, spool: ModelStore, received: StoredFile, config: TrainingConfig) -> FirstModel:
        """Store a training's first model as it came, but without tensors that stay on the devices.

        Raises `WireError`, `Invalid`, `NothingToTrain`, `NoRoomForControl`.
        """
        file = spool.map(received.sha256)
        packed, metadata = unpack(file)
        parameters = packed.parameters()
        check_model(parameters)
        groups = config.parameters
        if not groups.trained_of(parameters):
            raise NothingToTrain
        check_room(config, parameters)
        whole = global_part(groups, parameters)
        stored = self.models.write([file] if len(whole) == len(parameters) else pieces(whole))
        said = read_unmatched(metadata)
        return FirstModel(stored, unmatched_of(groups, config.statistics, parameters, local=said))

    def check(self, phase: Phase, client: Client, came: Result) -> Checked:
        """Read a client's update once, and give it if it may be aggregated. Raises `UpdateRejected`."""
        update, model = phase.full_update(client.id, came), phase.compared
        facts, data_size = _facts(update.result), client.profile.data_size
        check_examples(facts.num_examples, data_size)
        norm = _norm(update.packed, model)
        if norm is None:  # which tensor is wrong?
            after, base = update.packed.parameters(), model.parameters()
            check_update(after, base, facts, data_size, release=lambda: give_back(update.packed.block))
            norm = check_norm(after, base, release=lambda: give_back(update.packed.block, model.block))
        check_weighable(facts, phase.config.aggregation)
        if client.profile.data_distribution is not None:
            return Checked(update, norm, None)
        after, base = update.packed.parameters(), model.parameters()
        return Checked(update, norm, sketch(base, after, release=lambda: give_back(update.packed.block)))

    def to_send(self, round_: Round, config: TrainingConfig, sha256: str, first: str) -> ToSend:
        """Give what tasks carry of a model; `first` is the SHA-256 of the training's first model.

        If a part of the model is left out, the rest is a file in the round's spool. Raises `NotFound`.
        """
        mapped, spool, groups = self.models.map(sha256), self.spool(round_), config.parameters
        parameters = (whole := self.layouts.read(mapped)).parameters()
        present = global_part(groups, parameters)
        if len(present) < len(parameters):
            whole = unpack(spool.map(spool.write(pieces(present)).sha256))[0]
        frozen = groups.frozen_of(parameters)
        if not frozen:
            return ToSend(whole, None, StoredFile(sha256, len(mapped)) if len(present) == len(parameters) else None)
        rest = spool.write(pieces(trained_part(groups, parameters)))
        return ToSend(unpack(spool.map(rest.sha256))[0], Frozen(frozen_id(groups, first), whole))

    def bytes_to_send(self, config: TrainingConfig, sha256: str) -> int:
        """Tell how large a model's file is without the tensors that do not travel, or are sent only once.

        Raises `NotFound`, `NothingToTrain`.
        """
        size = self.models.path(sha256).stat().st_size
        if config.parameters == ParameterGroups():
            return size
        parameters = self.load(sha256).parameters()
        trained = config.parameters.trained_of(parameters)
        if not trained:
            raise NothingToTrain
        return size - sum(parameters[name].nbytes for name in parameters.keys() - set(trained))

    def measurement(self, spool: ModelStore, answer: StoredFile, size: AnswerSize, data_size: int) -> TaskResult | None:
        """Read what an agent measured in an evaluation, None if it has nothing to measure with, and remove its answer.

        Raises `UpdateRejected`.
        """
        mapped = spool.map(answer.sha256)
        spool.remove(answer.sha256)  # what is mapped can still be read
        try:
            result = read_measurement(unpack(mapped, size.header_bytes)[1])
        except WireError as error:
            raise UpdateRejected(str(error)) from error
        if result is not None:
            check_examples(result.num_examples, data_size)
        return result

    def lost(self, round_: Round) -> list[Participation]:
        """Received updates that are not in the spool."""
        spool = self.spool(round_)
        sent = senders(round_)
        return [part for part in sent if part.update is None or not spool.within(part.client_id).has(part.update)]

    def looked_over(self, config: TrainingConfig, round_: Round) -> tuple[dict[str, str], list[Participation]]:
        """Look at the received updates of a round: give the `outliers`, and the others that were `lost`."""
        outliers = self.outliers(config, round_)
        return outliers, [part for part in self.lost(round_) if part.client_id not in outliers]

    def outliers(self, config: TrainingConfig, round_: Round) -> dict[str, str]:
        """The clients whose updates are too long to be averaged with the others of the round, each with the reason.

        Updates that were rejected for it before are compared with the others as well: every owner finds the same.
        """
        norms = _norms(round_)
        if not norms:
            return {}
        model = self.load(round_.base_model or "")
        trained = trained_part(config.parameters, model.parameters())
        found = outliers(norms, length(trained, release=lambda: give_back(model.block)), config)
        return with_members(round_, found)

    def aggregate(
        self, config: TrainingConfig, round_: Round, base: ModelVersion, spool: ModelStore
    ) -> tuple[StoredFile, str | None]:
        """The next model from the received updates, always in the order of the client ids: the same bytes each time.

        `base` is the version of the round's base model. With the new one comes the name of the file that holds the
        server optimiser's state, None if it has none. Both files are in the model store.

        Raises:
            UnusableRound: the updates give no model, or the optimiser's state is gone.
            ModelNotFinite: which is an UnusableRound; the reason names the client whose update went farthest.
            NotFound: the spool lacks an update.
        """
        received = senders(round_)
        model, state = self.load(base.sha256), kept_state(self.models, config, base)
        updates = [unpack(spool.within(part.client_id).map(part.update or ""), like=model)[0] for part in received]
        before = None if base.parent is None else self.load(base.parent)
        release = partial(give_back, *(file.block for file in (model, before, state, *updates) if file is not None))
        parameters = global_part(config.parameters, model.parameters())
        layout = arrange(parameters)
        trained = trained_part(config.parameters, {name: parameters[name] for name in layout})
        new = next_model(
            config,
            Updates(
                trained,
                [update.parameters() for update in updates],
                clip_norm=config.hyperparameter("server_clip_norm", math.inf),
                statistics=config.statistics,
                release=release,
            ),
            [reported(part) for part in received],
            weights=weights_of(round_),
            members=facts_of_members(round_),
            before=None if before is None else before.parameters(),
            state=None if state is None else state.parameters(),
            population=round_.population,
        )
        try:
            block = whole_block(layout, parameters, trained, new.blocks, release=release)
            stored = self.models.write(chain([header(layout)], block))
        except ModelNotFinite as error:
            norms = _norms(round_)
            raise ModelNotFinite(f"{error}; {longest(norms)}" if norms else str(error)) from error
        if (kept := new.optimiser.state()) is None:
            return stored, None
        return stored, self.models.write(pieces(kept, metadata_of_state(self.models, config, base))).sha256


def _norm(update: Packed, model: Packed) -> float | None:
    """Return the norm of an update that can be read as one run of values, like the model.

    Returns None if the update has another layout, or values that are not finite or too large.
    """
    if update.layout is not model.layout:
        return None
    after, before = (Packed(model.runs, block).parameters() for block in (update.block, model.block))
    norm = length(after, before, release=lambda: give_back(update.block, model.block))
    return norm if norm <= LONGEST else None


def _facts(result: TaskResult) -> UpdateFacts:
    """What aggregation wants to know of a result besides its tensors."""
    return UpdateFacts(
        num_examples=result.num_examples, loss=result.loss, metrics=result.metrics, num_steps=result.num_steps
    )


def _norms(round_: Round) -> dict[str, float]:
    """Those of the round's updates, by client."""
    return {part.client_id: part.update_norm for part in round_.participations if part.update_norm is not None}
