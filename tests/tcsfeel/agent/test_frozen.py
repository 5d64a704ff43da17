"""Tensors that never change: an agent keeps them, says whether it has them, and gets them again if it does not."""

import numpy as np
import pytest

from tcsfeel.agent import Agent, AgentHost, FitResult, Parameters, Task
from tcsfeel.agent.frozen import KEPT, FrozenCheck, FrozenTensors
from tcsfeel.wire.codec import decode
from tests.tcsfeel.agent.calling import client, problem
from tests.tcsfeel.agent.fakes import AddingTrainer, task_body

ID = "f" * 64
TRAINED: Parameters = {"w": np.zeros(2, np.float32)}
WHOLE: Parameters = {**TRAINED, "embedding": np.arange(4, dtype=np.float32)}


class Adapting(AddingTrainer):
    """Adds the sum of the frozen tensor to the others, and returns all of them or only its own."""

    def __init__(self, *, everything: bool) -> None:
        self._everything = everything

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        del task
        moved = {"w": parameters["w"] + parameters["embedding"].sum()}
        return FitResult({**parameters, **moved} if self._everything else moved, 1, 1.0)


def a_task(number: int, frozen_id: str = ID) -> Task:
    return Task(
        id=f"t.{number}.c.fit",
        kind="fit",
        training_id="t",
        round=number,
        deadline_seconds=60.0,
        frozen_tensors=("emb*",),
        frozen_id=frozen_id,
    )


async def test_they_come_once_and_no_update_holds_them() -> None:
    for everything in (True, False):
        agent = Agent(Adapting(everything=everything))
        async with client(agent) as http:
            assert (await http.get(f"/frozen/{ID}")).status_code == 404
            answers = [await http.put("/tasks/t.1.c.fit", content=task_body(a_task(1), WHOLE))]
            assert (await http.get(f"/frozen/{ID}")).status_code == 204
            answers += [await http.put("/tasks/t.2.c.fit", content=task_body(a_task(2), TRAINED))]
        agent.close()
        for answer in answers:
            assert answer.status_code == 200
            update = decode(answer.content)[0]
            assert (set(update), update["w"].tolist()) == ({"w"}, [6.0, 6.0])


async def test_an_agent_that_does_not_have_them_says_so_and_trains_nothing() -> None:
    agent = Agent(Adapting(everything=True))
    async with client(agent) as http:
        refused = await http.put("/tasks/t.1.c.fit", content=task_body(a_task(1), TRAINED))
        assert problem(refused, 412) == f"the frozen tensors {ID!r} are not here: send them with the task"
        assert agent.table.trained == {}
        assert (await http.put("/tasks/t.1.c.fit", content=task_body(a_task(1), WHOLE))).status_code == 200
        assert (await http.post(f"/frozen/{ID}")).status_code == 405
    agent.close()


async def test_the_agents_of_a_process_share_them() -> None:
    host = AgentHost()
    for name in "ab":
        host.add(name, Adapting(everything=True))
    async with client(host) as http:
        await http.put("/agents/a/tasks/t.1.c.fit", content=task_body(a_task(1), WHOLE))
        assert (await http.get(f"/agents/b/frozen/{ID}")).status_code == 204
    host.close()


def test_few_are_kept_and_they_are_copies() -> None:
    kept = FrozenTensors()
    buffer = np.arange(4, dtype=np.float32)
    for number in range(KEPT + 1):
        kept.split(a_task(1, str(number)), {**TRAINED, "embedding": buffer})
    assert ("0" in kept, "1" in kept) == (False, True)
    buffer[:] = 0.0
    trained, frozen = kept.split(a_task(2, "1"), TRAINED)
    assert (set(trained), frozen["embedding"].tolist()) == ({"w"}, [0.0, 1.0, 2.0, 3.0])


def test_a_trainer_that_changes_frozen_tensors_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    given: Parameters = {"embedding": np.zeros(2, np.float32), "other": np.zeros(2, np.float32)}
    check = FrozenCheck()
    check.after_fit(a_task(1), {"embedding": np.ones(2, np.float32), "other": np.zeros(2, np.float32)}, given)
    check.after_fit(a_task(2), {"embedding": np.ones(2, np.float32)}, given)
    (said,) = caplog.messages
    assert "changed frozen tensors of training t, and the changes are dropped: embedding. " in said


@pytest.mark.parametrize("returned", [{}, {"embedding": np.zeros(2, np.float32)}], ids=["left-out", "unchanged"])
def test_a_trainer_that_leaves_frozen_tensors_as_they_are_is_told_nothing(
    returned: Parameters, caplog: pytest.LogCaptureFixture
) -> None:
    FrozenCheck().after_fit(a_task(1), returned, {"embedding": np.zeros(2, np.float32)})
    assert caplog.messages == []
