"""Define what a relay is told about its children, and what it answers for itself and for them.

A relay is an agent that also passes its fit task on to other agents, its *children*. It averages their updates with its
own, weighted by their examples, and answers with this mean and with what each *member* of it reported. Both are JSON in
the metadata of a parameter file, beside the task and beside the relay's own result. So an agent that does not know them
ignores them: it answers with its own update, and the control plane asks the children itself.

The child's task is the relay's with another id and deadline, and maybe other `local_epochs`. All else is the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from tcsfeel.wire.errors import MalformedMetadata
from tcsfeel.wire.records import (
    AnyRecord,
    Record,
    Rule,
    WrongField,
    from_json,
    from_object,
    real,
    records,
    text,
    whole,
)
from tcsfeel.wire.tasks import MOST_EXAMPLES, MOST_SECONDS, Task, TaskResult

MOST_CHILDREN: Final = 64
"""How many children one relay may have."""
SUBTREE: Final = "relay"
"""The metadata entry of a fit task that has the children."""
PARTIAL: Final = "partial"
"""The metadata entry of a fit result that has the members of a mean."""
LONGEST_REASON: Final = 300  # characters

_ID = text(1, 64)
_SIGNED = text(0, 2000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Child(Record):
    """An agent to which a relay passes its task on.

    Attributes:
        client_id: its client.
        task_id: the id of its task, which is the one that the control plane would use as well.
        url: the base URL of the agent.
        grant: the bearer token with which the relay may hand over this task and fetch its result, and nothing else.
        deadline_seconds: for how many seconds the relay waits for its result.
        data_size: how many samples the client has registered, which bounds the examples that it may claim.
        public_key: the key with which the agent signs its result; empty if it does not sign.
        local_epochs: how many its task asks for; 0 if as many as that of the relay.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "client_id": _ID,
        "task_id": text(1, 256),
        "url": text(1, 2048),
        "grant": text(0, 1000),
        "deadline_seconds": real(above=0),
        "data_size": whole(1, MOST_EXAMPLES),
        "public_key": text(0, 64),
        "local_epochs": whole(0),
    }

    client_id: str
    task_id: str
    url: str
    grant: str = ""
    deadline_seconds: float
    data_size: int
    public_key: str = ""
    local_epochs: int = 0

    def task(self, of_relay: Task) -> Task:
        """Return the child's task, which is that of its relay with another id and another deadline."""
        given = of_relay.hyperparameters | ({"local_epochs": self.local_epochs} if self.local_epochs else {})
        return replace(of_relay, id=self.task_id, deadline_seconds=self.deadline_seconds, hyperparameters=given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtree(Record):
    """What a relay is told: under which client id it answers itself, and its children."""

    rules: ClassVar[Mapping[str, Rule]] = {"client_id": _ID, "children": records(Child, MOST_CHILDREN)}

    client_id: str
    children: tuple[Child, ...]

    def to_json(self) -> str:
        children = [{name: getattr(child, name) for name in Child.rules} for child in self.children]
        return _written({"client_id": self.client_id, "children": children})


def _result(value: object) -> TaskResult:
    return value if isinstance(value, TaskResult) else from_object(TaskResult, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Record):
    """A client whose update is in a mean.

    Attributes:
        client_id: the client.
        result: what its agent reported with the update.
        digest: the SHA-256 of the update's file as the agent sent it, in hexadecimal.
        signature_input, signature: the headers of the signature over that file; empty if the agent does not sign.
        seconds: how long that file was on the link to its relay; 0 if that was not measured.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "client_id": _ID,
        "result": _result,
        "digest": text(0, 64),
        "signature_input": _SIGNED,
        "signature": _SIGNED,
        "seconds": real(0, MOST_SECONDS),
    }

    client_id: str
    result: TaskResult
    digest: str = ""
    signature_input: str = ""
    signature: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing(Record):
    """A child whose update is not in the mean, and why."""

    rules: ClassVar[Mapping[str, Rule]] = {"client_id": _ID, "reason": text(0, LONGEST_REASON)}

    client_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial(Record):
    """What a relay answers beside its own result: whose updates are in the mean, and which children's are not."""

    rules: ClassVar[Mapping[str, Rule]] = {
        "members": records(Member, MOST_CHILDREN + 1),
        "missing": records(Missing, MOST_CHILDREN),
    }

    members: tuple[Member, ...]
    missing: tuple[Missing, ...] = ()

    @property
    def num_examples(self) -> int:
        """How many examples the mean stands for."""
        return sum(member.result.num_examples for member in self.members)

    def to_json(self) -> str:
        members = [
            {
                **{name: getattr(member, name) for name in Member.rules},
                "result": json.loads(member.result.to_json()),
            }
            for member in self.members
        ]
        missing = [{"client_id": one.client_id, "reason": one.reason} for one in self.missing]
        return _written({"members": members, "missing": missing})


def subtree_metadata(subtree: Subtree) -> dict[str, str]:
    return {SUBTREE: subtree.to_json()}


def partial_metadata(partial: Partial) -> dict[str, str]:
    return {PARTIAL: partial.to_json()}


def read_subtree(metadata: Mapping[str, str]) -> Subtree | None:
    """Read what a relay is told; None if the agent is not to relay. Raises `MalformedMetadata` if it is not valid."""
    return _read(Subtree, SUBTREE, metadata)


def read_partial(metadata: Mapping[str, str]) -> Partial | None:
    """Read the members of a mean; None if the update is that of one client. Raises `MalformedMetadata`."""
    return _read(Partial, PARTIAL, metadata)


def _written(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _read(record: type[AnyRecord], key: str, metadata: Mapping[str, str]) -> AnyRecord | None:
    if key not in metadata:
        return None
    try:
        return from_json(record, metadata[key])
    except WrongField as error:
        raise MalformedMetadata(str(error.below(key))) from error
