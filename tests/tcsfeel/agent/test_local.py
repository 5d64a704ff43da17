"""Tensors that stay on a device: where they begin, what each task makes of them, and how long they are kept."""

import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tcsfeel.agent import Agent, FitResult, Parameters, Task
from tcsfeel.agent.errors import AgentError
from tcsfeel.agent.local import TRAININGS, LocalTensors
from tcsfeel.agent.tasks import TaskTable
from tcsfeel.agent.workers import Workers
from tcsfeel.wire.codec import decode
from tcsfeel.wire.tasks import TaskKind
from tests.tcsfeel.agent.calling import client
from tests.tcsfeel.agent.fakes import AddingTrainer, eventually
from tests.tcsfeel.agent.tables import settled

GLOBAL: Parameters = {"w": np.zeros(2, np.float32)}


class Personal(AddingTrainer):
    """Has a head of its own, which begins at 100, and notes the parameters that it was given."""

    def __init__(self) -> None:
        self.given: list[Mapping[str, Any]] = []

    def initial_parameters(self) -> Parameters:
        return {**GLOBAL, "head": np.full(2, 100.0, np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self.given.append(parameters)
        return super().fit(parameters, task)

    def evaluate(self, parameters: Parameters, task: Task) -> Any:
        self.given.append(parameters)
        return super().evaluate(parameters, task)

    @property
    def heads(self) -> list[float]:
        return [float(given["head"][0]) for given in self.given]


def a_task(number: int, kind: TaskKind = "fit", training_id: str = "t") -> Task:
    name = f"{training_id}.{number}.c.{kind}"
    return Task(
        id=name, kind=kind, training_id=training_id, round=number, deadline_seconds=60.0, local_tensors=("head",)
    )


def table(trainer: AddingTrainer, directory: Path | None = None) -> TaskTable:
    return TaskTable(trainer, Workers(1), local=LocalTensors(directory))


async def done(these: TaskTable, task: Task) -> Parameters:
    these.submit(task, GLOBAL)
    entry = await settled(these, task.id)
    assert entry.state == "done", entry.failure
    assert entry.payload is not None
    return decode(b"".join(entry.payload))[0]


@pytest.fixture(params=["memory", "directory"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "c.local" if request.param == "directory" else None


async def test_they_begin_as_the_trainers_own_and_go_on_without_being_sent(directory: Path | None) -> None:
    trainer = Personal()
    these = table(trainer, directory)
    await done(these, a_task(0, "evaluate"))
    for number in (1, 2):
        assert (await done(these, a_task(number))).keys() == {"w"}
    await done(these, a_task(2, "evaluate"))
    assert trainer.heads == [100.0, 100.0, 101.0, 102.0]
    assert not trainer.given[-1]["head"].flags.writeable


async def test_each_training_has_its_own(directory: Path | None) -> None:
    trainer = Personal()
    these = table(trainer, directory)
    for number, training_id in ((1, "t"), (1, "../../other"), (2, "t"), (2, "../../other")):
        await done(these, a_task(number, training_id=training_id))
    assert trainer.heads == [100.0, 100.0, 101.0, 101.0]
    assert directory is None or _count(directory) == 2, "an id leads to no other directory"


async def test_a_restart_goes_on_with_them_if_there_is_a_directory(directory: Path | None) -> None:
    await done(table(Personal(), directory), a_task(1))
    trainer = Personal()
    await done(table(trainer, directory), a_task(2))
    assert trainer.heads == [100.0 if directory is None else 101.0]


class Gated(Personal):
    """Waits in `fit` for the test, and may end with a result that is none."""

    def __init__(self) -> None:
        super().__init__()
        self.examples = 1
        self.started, self.gate = threading.Event(), threading.Event()

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self.started.set()
        assert self.gate.wait(20)
        result = super().fit(parameters, task)
        return FitResult(result.parameters, self.examples, 1.0)


async def test_a_task_that_fails_or_is_cancelled_changes_nothing(directory: Path | None) -> None:
    trainer = Gated()
    these = table(trainer, directory)
    these.submit(a_task(1), GLOBAL)
    await eventually(trainer.started.is_set)
    these.delete("t.1.c.fit")
    trainer.gate.set()
    trainer.examples = 0
    these.submit(a_task(2), GLOBAL)
    assert (await settled(these, "t.2.c.fit")).state == "failed"
    await done(these, a_task(3, "evaluate"))
    assert trainer.heads == [100.0, 100.0, 100.0]


def _count(directory: Path) -> int:
    return len(list(directory.iterdir()))


async def test_a_local_tensor_that_is_not_finite_is_not_kept(directory: Path | None) -> None:
    class Diverging(Personal):
        def fit(self, parameters: Parameters, task: Task) -> FitResult:
            super().fit(parameters, task)
            return FitResult({**parameters, "head": np.array([1.0, np.nan], np.float32)}, 1, 1.0)

    trainer = Diverging()
    these = table(trainer, directory)
    for number in (1, 2):
        these.submit(a_task(number), GLOBAL)
        entry = await settled(these, f"t.{number}.c.fit")
        assert (entry.broken, entry.failure) == (True, "local tensor 'head' holds values that are not finite")
    assert trainer.heads == [100.0, 100.0]


async def test_a_result_without_the_local_tensors_is_the_trainers_mistake() -> None:
    class Forgetful(Personal):
        def fit(self, parameters: Parameters, task: Task) -> FitResult:
            del task
            return FitResult({"w": parameters["w"]}, 1, 1.0)

    these = table(Forgetful())
    these.submit(a_task(1), GLOBAL)
    entry = await settled(these)
    assert (entry.state, entry.broken) == ("failed", True)
    assert entry.failure == "the parameters returned have other tensors than those received; these are missing: head"


def test_the_oldest_trainings_are_dropped(directory: Path | None) -> None:
    kept = LocalTensors(directory)
    for number in range(TRAININGS + 1):
        kept.keep(a_task(1, training_id=f"t{number}"), {"head": np.full(2, number, np.float32)})
        if directory is not None and number == 0:
            (file,) = directory.iterdir()
            os.utime(file, (1.0, 1.0))  # files that are written at once may have the same time
    newest, oldest = (a_task(2, training_id=f"t{number}") for number in (TRAININGS, 0))
    assert kept.of(newest, Personal())["head"].tolist() == [TRAININGS, TRAININGS]
    assert kept.of(oldest, Personal())["head"].tolist() == [100.0, 100.0]


async def test_a_file_is_private_and_one_that_is_broken_is_named(tmp_path: Path) -> None:
    await done(table(Personal(), tmp_path / "c.local"), a_task(1))
    (file,) = (tmp_path / "c.local").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"broken")
    with pytest.raises(AgentError, match=rf"{file.name} was not written by an agent .*: remove it to start anew"):
        LocalTensors(tmp_path / "c.local").of(a_task(2), Personal())


async def test_a_disk_that_refuses_them_fails_the_task_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "c.local").touch()
    these = table(Personal(), tmp_path / "c.local")
    these.submit(a_task(1), GLOBAL)
    entry = await settled(these)
    assert entry.state == "failed"
    assert "the local tensors cannot be read from" in entry.failure
    assert str(tmp_path) not in entry.failure


async def test_initial_parameters_leave_without_the_local_tensors() -> None:
    agent = Agent(Personal())
    async with client(agent) as http:
        whole = await http.get("/model")
        rest = await http.get("/model", params={"local": ["head", "bn*"]})
        refused = await http.get("/model", params={"local": ["x"] * 65})
    agent.close()
    assert decode(whole.content)[0].keys() == {"w", "head"}
    assert decode(whole.content)[1] == {}
    parameters, metadata = decode(rest.content)
    assert (set(parameters), metadata) == ({"w"}, {"unmatched_local": '["bn*"]'})
    assert refused.status_code == 422


async def test_an_agent_without_matching_tensors_says_so_in_its_log(caplog: pytest.LogCaptureFixture) -> None:
    await done(table(AddingTrainer()), a_task(1))
    assert "no tensor of the trainer matches the local tensors of training t: head" in caplog.text
