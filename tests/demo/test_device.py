from collections.abc import Callable

import numpy as np
import pytest

from app.demo.device import DeviceFailed, DeviceTrainer, wait
from app.demo.digits import CLASSES, shards
from app.demo.network import Device
from tcsfeel.agent import Trainer
from tcsfeel.wire.tasks import Task, TaskKind

SHARD = shards(50, np.random.default_rng(1))[0]


def make(
    reliability: float, pause: Callable[[float], None], seed: int = 1, position: int = 0, *, shaped: bool = False
) -> DeviceTrainer:
    device = Device(site=2, bandwidth=1.0, latency=1000.0, compute=0.05, reliability=reliability)
    return DeviceTrainer(SHARD, device, seed=seed, position=position, shaped=shaped, pause=pause)


def task(number: int = 1, kind: TaskKind = "fit") -> Task:
    settings: dict[str, bool | int | float | str | None] = {"local_epochs": 2, "batch_size": 10, "learning_rate": 0.5}
    return Task(
        id=f"t.{number}.c.{kind}",
        kind=kind,
        training_id="t",
        round=number,
        hyperparameters=settings,
        deadline_seconds=30,
    )


def outcomes(reliability: float, rounds: int) -> list[str]:
    """What one try in each round comes to."""
    trainer = make(reliability, lambda _seconds: None)
    parameters, found = trainer.initial_parameters(), []
    for number in range(rounds):
        try:
            trainer.fit(parameters, task(number))
        except DeviceFailed as error:
            found.append(str(error))
        else:
            found.append("")
    return found


def test_answers_are_held_back_as_long_as_the_device_and_its_link_would_take() -> None:
    pauses: list[float] = []
    trainer = make(1.0, pauses.append)
    assert isinstance(trainer, Trainer)
    parameters = trainer.initial_parameters()
    result = trainer.fit(parameters, task())
    assert result.num_examples == len(SHARD.train_labels)
    measured = trainer.evaluate(parameters, task(kind="evaluate"))
    assert measured.num_examples == len(SHARD.test_labels)
    # 4 810 parameters are 0.15392 s at 1 Mbps, and either way takes a second of latency besides
    expected_fit = 2 * 1.15392 + 6 * 4810 * len(SHARD.train_labels) * 2 / 5e7
    expected_evaluation = 1.15392 + 1.0 + 2 * 4810 * len(SHARD.test_labels) / 5e7
    assert pauses == [pytest.approx(expected_fit, abs=1.0), pytest.approx(expected_evaluation, abs=1.0)]
    assert pauses[0] <= expected_fit  # what the real computation took is part of it


def test_with_shaped_links_only_computing_takes_time_and_the_profile_states_the_link() -> None:
    pauses: list[float] = []
    trainer = make(1.0, pauses.append, shaped=True)
    parameters = trainer.initial_parameters()
    trainer.fit(parameters, task())
    trainer.evaluate(parameters, task(kind="evaluate"))
    assert pauses[0] <= 6 * 4810 * len(SHARD.train_labels) * 2 / 5e7
    assert pauses[1] <= 2 * 4810 * len(SHARD.test_labels) / 5e7
    assert (trainer.profile().bandwidth, trainer.profile().latency) == (1, 1000)


def test_an_update_depends_on_seed_client_and_round_alone() -> None:
    def update(number: int, position: int = 0) -> bytes:
        trainer = make(1.0, lambda _seconds: None, position=position)
        return bytes(trainer.fit(trainer.initial_parameters(), task(number)).parameters["output.weight"].tobytes())

    assert update(1) == update(1)
    assert len({update(1), update(2), update(1, position=1)}) == 3


def test_devices_fail_as_often_as_they_say_and_the_same_way_each_time() -> None:
    found = outcomes(0.8, 500)
    assert found == outcomes(0.8, 500)
    failures = [text for text in found if text]
    assert len(failures) / len(found) == pytest.approx(0.2, abs=0.05)
    quiet = sum("too late" in text for text in failures)
    assert 0 < quiet < len(failures) / 2
    assert not any(outcomes(1.0, 100))


def test_a_second_try_is_drawn_anew() -> None:
    trainer = make(0.5, lambda _seconds: None)
    came = []
    for number in range(20):
        for _ in range(8):
            try:
                trainer.fit(trainer.initial_parameters(), task(number))
            except DeviceFailed:
                continue
            came.append(number)
            break
    assert came == list(range(20))


def test_a_profile_says_what_the_model_does() -> None:
    profile = make(0.9, lambda _seconds: None).profile()
    assert profile.data_size == len(SHARD.train_labels)
    assert list(np.asarray(profile.data_distribution)) == list(np.bincount(SHARD.train_labels, minlength=CLASSES))
    assert (profile.bandwidth, profile.latency, profile.compute_capacity, profile.reliability) == (1, 1000, 0.05, 0.9)
    assert profile.tags == {"site": "site-3"}


def test_waiting_for_less_than_nothing_is_not_waiting() -> None:
    wait(-1.0)
