"""Relay the updates of other agents: pass the task on, and answer with the mean of what came back and of one's own.

A relay sees the update of each of its children. So an agent relays only if its operator lets it, and it is a child of a
relay only then, too.

What a child sends is checked as the control plane would check it, and its update is not averaged if it is far longer
than the relay's own. A child that fails, or is late, is only left out: the answer names it with the reason, and the
control plane then asks it directly. It has kept its result. A relay deletes no task of a child.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2

from tcsfeel.agent.children import ChildFailed, Errand, Received, result_of
from tcsfeel.agent.relaying import Relaying
from tcsfeel.agent.results import Update
from tcsfeel.aggregation import UpdateFacts, Updates, check_norm, check_update, length
from tcsfeel.aggregation.partials import check_beside, partial_mean
from tcsfeel.errors import UpdateRejected
from tcsfeel.wire.codec import Packed, Parameters, pack, unpack
from tcsfeel.wire.digests import digest_of
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.records import WrongField
from tcsfeel.wire.relays import Child, Member, Missing, Partial, Subtree, partial_metadata
from tcsfeel.wire.sizes import AnswerSize, fit_size
from tcsfeel.wire.tasks import Task, TaskResult, read_encoding, read_result, result_metadata, task_metadata

AT_ONCE = 2  # bodies of tasks that are hashed at the same time

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Checked:
    """The update of a child that may be averaged."""

    member: Member
    parameters: Parameters


class Group:
    """A relay and its children, for one task.

    Args:
        relaying: what the agent needs.
        task: the relay's task.
        subtree: its children.
        model: the tensors that came with the task.
    """

    def __init__(self, relaying: Relaying, task: Task, subtree: Subtree, model: Packed) -> None:
        self._relaying = relaying
        self._task = task
        self._subtree = subtree
        self._model = model
        self._size: AnswerSize = fit_size(model)
        self._came: dict[str, Received] = {}
        self._missing: dict[str, str] = {}

    async def collect(self) -> None:
        """Hand the task to each child, and wait for the results until their deadlines."""
        turns = asyncio.Semaphore(AT_ONCE)
        async with self._relaying.calling() as http:
            await asyncio.gather(*(self._fetch(child, http, turns) for child in self._subtree.children))

    def combined(self, own: Update) -> Update:
        """Average the updates of the children that are right with the relay's own. It blocks."""
        if own.result is None:
            raise ValueError("only the update of a fit can be averaged")
        base, trained = self._model.parameters(), own.trained
        reference = length(trained, base, release=_nothing)
        model_norm = length(base, release=_nothing)
        checked = []
        for child in self._subtree.children:
            if (came := self._came.get(child.client_id)) is None:
                continue
            try:
                checked.append(self._checked(child, came, base, reference, model_norm))
            except (WireError, WrongField, UpdateRejected) as error:
                self._missing[child.client_id] = str(error)
        self._came.clear()
        mine = _Checked(
            Member(client_id=self._subtree.client_id, result=own.result, digest=digest_of(own.payload).hex()), trained
        )
        members = sorted([mine, *checked], key=lambda one: one.member.client_id)
        updates = Updates(base, [one.parameters for one in members])
        mean = partial_mean(updates, [float(one.member.result.num_examples) for one in members])
        return Update(pack(mean).payload(self._said(own.result, members)), None, own.local, trained, own.result)

    def _said(self, result: TaskResult, members: list[_Checked]) -> Mapping[str, str]:
        missing = [
            Missing(client_id=client_id, reason=str(ChildFailed(reason))) for client_id, reason in self._missing.items()
        ]
        partial = Partial(members=tuple(one.member for one in members), missing=tuple(missing))
        return {**result_metadata(result), **partial_metadata(partial)}

    async def _fetch(self, child: Child, http: httpx2.AsyncClient, turns: asyncio.Semaphore) -> None:
        payload = self._model.payload(task_metadata(child.task(self._task)))
        try:
            async with turns:
                digest = await asyncio.to_thread(digest_of, payload)
            errand = Errand(child, payload, digest, self._size.file_bytes, self._relaying.directory)
            self._came[child.client_id] = await result_of(errand, http, clock=self._relaying.clock)
        except ChildFailed as failed:
            self._missing[child.client_id] = str(failed)
        except Exception as error:  # noqa: BLE001  (a child may send anything, and the others are not to suffer)
            _log.exception("the child %s of task %s failed", child.client_id, self._task.id)
            self._missing[child.client_id] = f"its result could not be fetched ({type(error).__name__})"

    def _checked(self, child: Child, came: Received, base: Parameters, reference: float, model_norm: float) -> _Checked:
        """Check the result of a child as the control plane would. Raises `WireError`, `UpdateRejected`."""
        sent, metadata = unpack(came.body, self._size.header_bytes, like=self._model)
        result = read_result(metadata)
        if (encoding := read_encoding(metadata).name) != "full":
            raise UpdateRejected(f"it is encoded as {encoding}, which was not offered")
        parameters = sent.parameters()
        facts = UpdateFacts(num_examples=result.num_examples, loss=result.loss, metrics=result.metrics)
        check_update(parameters, base, facts, child.data_size)
        check_beside(check_norm(parameters, base, release=_nothing), reference, model_norm)
        member = Member(
            client_id=child.client_id,
            result=result,
            digest=came.digest.hex(),
            signature_input=came.signature_input,
            signature=came.signature,
            seconds=came.seconds,
        )
        return _Checked(member, parameters)


def _nothing() -> None:
    """Give no memory back: the system does so for files that are not used any more."""
