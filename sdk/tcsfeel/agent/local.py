"""Keep the local tensors of an agent between the tasks of one training.

Local tensors are part of the trainer's model but never leave the device: the tensors of BatchNorm layers (FedBN, Li et
al., 2021), or a personal head (FedPer, Arivazhagan et al., 2019). A training names them by patterns. At the first task
of a training they are the trainer's own initial parameters. Later they are what the last `fit` returned.

They are kept in a directory, if there is one, so that they survive a restart. A file is complete, or it is not there.
Those of the `TRAININGS` trainings that were trained last are kept. A task that fails or is cancelled changes nothing.
"""

import contextlib
import hashlib
import logging
import os
import secrets
from pathlib import Path

from tcsfeel import private
from tcsfeel.agent.errors import AgentError
from tcsfeel.agent.trainer import Trainer
from tcsfeel.wire.codec import Packed, Parameters, pack, unpack
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.groups import matching
from tcsfeel.wire.tasks import Task

TRAININGS = 32  # of one agent

_SUFFIX = ".safetensors"
_log = logging.getLogger(__name__)


class LocalTensors:
    """The local tensors of one agent, by training. Its methods block, and are called by one thread at a time.

    Args:
        directory: where they are kept; None keeps them as long as this object exists.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._kept: dict[str, Packed] = {}

    def of(self, task: Task, trainer: Trainer) -> Parameters:
        """Return the local tensors of a task's training, read-only. The first time they are the trainer's own.

        Raises:
            AgentError: the file cannot be read or written.
        """
        if not task.local_tensors:
            return {}
        kept = self._read(task.training_id)
        if kept is None:
            kept = self._first(task, trainer)
            self._write(task.training_id, kept)
        return kept.parameters()

    def keep(self, task: Task, tensors: Parameters) -> None:
        """Replace the local tensors of a task's training. Raises `AgentError` if they cannot be written."""
        if tensors:
            self._write(task.training_id, pack(tensors))

    def _first(self, task: Task, trainer: Trainer) -> Packed:
        initial = trainer.initial_parameters()
        local = matching(initial, task.local_tensors)
        if not local:
            _log.warning(
                "no tensor of the trainer matches the local tensors of training %s: %s",
                task.training_id,
                ", ".join(task.local_tensors),
            )
        elif self._directory is None:
            _log.warning(
                "the local tensors of training %s are only in memory, so a restart of this agent starts with new ones:"
                " give it a directory with --state DIR (in Python state=DIR)",
                task.training_id,
            )
        return pack({name: initial[name] for name in local})

    def _read(self, training_id: str) -> Packed | None:
        if self._directory is None:
            return self._kept.get(training_id)
        file = self._file(training_id)
        try:
            return unpack(file.read_bytes())[0]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AgentError(f"the local tensors cannot be read from {file.name}: {error.strerror}") from error
        except WireError as error:
            raise AgentError(f"{file.name} was not written by an agent ({error}): remove it to start anew") from error

    def _write(self, training_id: str, tensors: Packed) -> None:
        if self._directory is None:
            self._kept.pop(training_id, None)
            self._kept[training_id] = tensors
            if len(self._kept) > TRAININGS:
                del self._kept[next(iter(self._kept))]
            return
        file = self._file(training_id)
        draft = file.with_suffix(f".{secrets.token_hex(4)}")
        try:
            private.make_directory(file.parent)
            with open(draft, "xb", opener=private.opener) as stream:
                stream.writelines(tensors.payload({"training_id": training_id}))
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
            self._drop_oldest(file.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise AgentError(f"the local tensors cannot be kept in {file.name}: {error.strerror}") from error

    def _drop_oldest(self, directory: Path) -> None:
        files = sorted(directory.glob(f"*{_SUFFIX}"), key=lambda file: file.stat().st_mtime_ns)
        for file in files[:-TRAININGS]:
            file.unlink(missing_ok=True)

    def _file(self, training_id: str) -> Path:
        """The id comes from a caller, so the file is named by its digest."""
        digest = hashlib.sha256(training_id.encode()).hexdigest()
        return (self._directory or Path()) / f"{digest[:32]}{_SUFFIX}"
