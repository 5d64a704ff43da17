"""SCAFFOLD's control variates of a device: which it uses, which it keeps, and what it asks of a trainer."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.trainings import TrainingConfig
from tcsfeel.agent import FitResult, Parameters, Task
from tcsfeel.agent.control import KEPT_SECONDS, TRAININGS, Controls
from tcsfeel.agent.entries import Entry
from tcsfeel.agent.results import fitted
from tcsfeel.agent.tasks import TaskTable
from tcsfeel.aggregation import UpdateFacts, Updates, next_model
from tcsfeel.wire.codec import decode
from tcsfeel.wire.control import joined, separated
from tcsfeel.wire.tasks import read_result
from tests.clocks import FakeClock
from tests.depth import tries
from tests.tcsfeel.agent.fakes import AddingTrainer, make_task
from tests.tcsfeel.agent.tables import table_of
from tests.tcsfeel.models import assembled
from tests.tcsfeel.scaffold import Bowl, by_the_paper

MODEL: Parameters = {"w": np.zeros(2, np.float32), "n": np.array([1])}
RATE = 0.1


class Stepping(AddingTrainer):
    """Takes two steps of the gradient -1 at the rate of the task, and notes the corrections."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        correction = task.correction.get("w", np.zeros(2))
        self.seen.append(float(correction[0]))
        step = np.float32(RATE) * (np.float32(-1.0) + correction)
        return FitResult({**parameters, "w": parameters["w"] - 2 * step}, 2, 0.5, num_steps=2)


def task(number: int = 1, counted: int | None = 0, control: float = 0.0, training_id: str = "t", **change: Any) -> Task:
    made = make_task(f"{training_id}.{number}.c.fit", learning_rate=RATE)
    correction = {"w": np.full(2, control, np.float32)}
    return replace(made, round=number, control_round=counted, correction=correction, **change)


async def fit(table: TaskTable, given: Task, model: Parameters = MODEL) -> Entry:
    table.submit(given, model)
    entry = await table.wait(given.id, 20)
    assert entry is not None
    return entry


async def test_the_first_correction_is_the_servers_control_variate() -> None:
    trainer = Stepping()
    await fit(table_of(trainer), task(control=0.25))
    assert trainer.seen == [0.25]


async def test_the_next_correction_subtracts_the_mean_gradient_of_the_counted_round() -> None:
    trainer = Stepping()
    table = table_of(trainer)
    await fit(table, task(1, 0, control=0.25))
    await fit(table, task(2, 1, control=0.25))
    assert trainer.seen == pytest.approx([0.25, 0.25 - -1.0]), "each gradient was -1, whatever was added to it"


async def test_an_update_that_the_server_did_not_use_does_not_count() -> None:
    trainer = Stepping()
    table = table_of(trainer)
    await fit(table, task(1, 0))
    await fit(table, task(2, 0))  # the server has not used that of round 1
    await fit(table, task(4, 2))
    await fit(table, task(5, 2))  # nor that of round 4
    await fit(table, task(6, 4))  # which it cannot, as task 5 said
    assert trainer.seen == pytest.approx([0, 0, 1, 1, 0])


async def test_a_device_that_has_lost_its_control_variate_goes_on_from_0() -> None:
    trainer = Stepping()
    await fit(table_of(trainer), task(1, 0))
    await fit(table_of(trainer), task(2, 1, control=0.5))
    assert trainer.seen == [0.0, 0.5]


async def test_another_training_and_another_model_have_their_own() -> None:
    trainer = Stepping()
    table = table_of(trainer)
    await fit(table, task(1, 0))
    await fit(table, task(2, 1, training_id="other"))
    wider = {"w": np.zeros(3, np.float32)}
    changed = replace(task(2, 1), correction=dict(wider))
    await fit(table, changed, wider)
    assert trainer.seen == [0.0, 0.0, 0.0]


async def test_a_task_of_another_rule_has_no_correction() -> None:
    trainer = Stepping()
    entry = await fit(table_of(trainer), replace(task(1, None), correction={}))
    assert (entry.state, trainer.seen) == ("done", [0.0])


async def test_what_travels_back_is_the_update_alone() -> None:
    entry = await fit(table_of(Stepping()), task(1, 0, control=0.5))
    assert entry.payload is not None
    parameters, metadata = decode(b"".join(entry.payload))
    assert list(parameters) == ["n", "w"]
    assert read_result(metadata).num_steps == 2


class Deaf(AddingTrainer):
    """Reports its steps, and does not ask for a correction."""

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        return replace(super().fit(parameters, task), num_steps=3)


class Silent(Stepping):
    """Does not report its steps."""

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        return replace(super().fit(parameters, task), num_steps=None)


class Wild(Stepping):
    """Moves by more than a control variate can hold."""

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        moved = {**parameters, "w": np.full(2, 3e38, np.float32)}
        return replace(super().fit(parameters, task), parameters=moved)


@pytest.mark.parametrize(
    ("trainer", "change", "reason"),
    [
        (Deaf(), {}, "fit did not read task.correction"),
        (Silent(), {}, "let fit return a FitResult with num_steps"),
        (Wild(), {}, "tensor 'w' is not finite, or too far from the model for SCAFFOLD"),
        (Stepping(), {"hyperparameters": {"learning_rate": "fast"}}, "needs a learning_rate above 0, not 'fast'"),
        (Stepping(), {"hyperparameters": {"learning_rate": 0.0}}, "needs a learning_rate above 0, not 0.0"),
    ],
)
async def test_a_trainer_that_cannot_do_it_is_told_what_to_change(
    trainer: AddingTrainer, change: dict[str, Any], reason: str
) -> None:
    entry = await fit(table_of(trainer), replace(task(), **change))
    assert (entry.state, entry.broken) == ("failed", True)
    assert reason in entry.failure


async def test_only_the_newest_trainings_are_kept_and_not_for_ever() -> None:
    clock = FakeClock()
    table = table_of(Stepping(), clock)
    for number in range(TRAININGS + 2):
        await fit(table, task(1, 0, training_id=f"t{number}"))
    assert len(table._controls) == TRAININGS
    clock.advance(KEPT_SECONDS)
    table.expire()
    assert len(table._controls) == 0


async def test_a_smaller_upload_counts_as_the_server_reads_it() -> None:
    trainer = Stepping()
    table = table_of(trainer)
    for number in (1, 2):
        given = replace(task(number, number - 1), update_encoding="int8")
        await fit(table, given, {"w": np.array([0, 1000], np.float32)})
    # an update of (0.2, 0.2) in steps of 0.2 / 127 is hardly rounded, so the control variate is -1 but for that
    assert trainer.seen == pytest.approx([0.0, 1.0], rel=1e-3)


class Simulation:
    """Clients and a server without a wire between them: what each keeps is as in the product."""

    def __init__(self, clients: list[Bowl]) -> None:
        self.clients = clients
        self.model: dict[str, npt.NDArray[Any]] = {"w": np.zeros(2)}
        self.state: Parameters | None = None
        self._controls = [Controls(FakeClock().now) for _ in clients]
        self._counted = [0] * len(clients)

    def round(self, number: int, chosen: list[int], rate: float) -> None:
        updates, facts = [], []
        for i in chosen:
            control = self.state or {"w": np.zeros(2)}
            blank = replace(
                make_task(f"t.{number}.{i}.fit", learning_rate=rate), round=number, control_round=self._counted[i]
            )
            given, received = separated(blank, joined(self.model, control))
            correction = self._controls[i].correction(given)
            result = self.clients[i].fit(received, replace(given, correction=correction))
            sent = fitted(result, received, 0.0).trained
            self._controls[i].keep(given, self._controls[i].after(given, correction, received, sent, result.num_steps))
            updates.append(sent)
            facts.append(UpdateFacts(result.num_examples, 1.0, num_steps=result.num_steps))
        config = TrainingConfig(name="t", aggregation="scaffold", hyperparameters={"learning_rate": rate})
        new = next_model(config, Updates(self.model, updates), facts, state=self.state, population=len(self.clients))
        self.model = assembled(new, self.model)
        self.state = new.optimiser.state()
        for i in chosen:
            self._counted[i] = number


CLIENTS = [
    Bowl(0.0, steps=2),
    Bowl(10.0, steps=2, examples=1000),
    Bowl(-4.0, 0.5, steps=7, examples=1),
    Bowl(3.0, 2.0, steps=1, examples=70),
]


@tries(30)
@given(rounds=st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=12), rate=st.floats(0.01, 0.3))
def test_clients_and_server_together_do_what_the_paper_says(rounds: list[set[int]], rate: float) -> None:
    product = Simulation(CLIENTS)
    for number, chosen in enumerate(rounds, 1):
        product.round(number, sorted(chosen), rate)
    model, control = by_the_paper(CLIENTS, [sorted(chosen) for chosen in rounds], rate)
    assert product.state is not None
    np.testing.assert_allclose(product.model["w"], model, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(product.state["w"], control, rtol=1e-9, atol=1e-9)


def test_clients_that_differ_reach_the_common_optimum_which_fedavg_misses() -> None:
    """The paper's point: with several local steps FedAvg ends elsewhere."""
    clients = [Bowl(0.0, 1.0, steps=10), Bowl(10.0, 0.1, steps=10)]
    common = (1.0 * 0.0 + 0.1 * 10.0) / 1.1  # where the mean of the gradients is 0
    product = Simulation(clients)
    for number in range(1, 200):
        product.round(number, [0, 1], 0.1)
    assert product.model["w"] == pytest.approx([common, common], abs=1e-6)

    plain: Parameters = {"w": np.zeros(2)}
    for _ in range(200):
        moved = [client.fit(plain, make_task(learning_rate=0.1)).parameters["w"] for client in clients]
        plain = {"w": (moved[0] + moved[1]) / 2}
    assert abs(plain["w"][0] - common) > 0.3
