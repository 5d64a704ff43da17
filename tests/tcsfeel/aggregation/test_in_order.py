"""Parts of a model that threads compute, in their order."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from app.domain.trainings import TrainingConfig
from tcsfeel.aggregation import UpdateFacts, Updates, next_model
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.aggregation.in_order import in_order

THREADS = 3


def numbers(asked: list[int], end: int = 20) -> Iterator[int]:
    for number in range(end):
        asked.append(number)
        yield number


def test_results_come_in_the_order_of_their_jobs_also_if_a_later_one_is_ready_first() -> None:
    second_is_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second_is_done.wait(10)
        if number == 1:
            second_is_done.set()
        return number * number

    assert list(in_order(numbers([], 6), work, THREADS)) == [0, 1, 4, 9, 16, 25]


def test_only_a_few_jobs_are_begun_before_their_results_are_wanted() -> None:
    asked: list[int] = []
    results = in_order(numbers(asked), str, THREADS)
    assert next(results) == "0"
    assert asked == [0, 1, 2, 3]
    assert next(results) == "1"
    assert asked == [0, 1, 2, 3, 4]
    results.close()  # type: ignore[attr-defined]  # it is a generator
    assert asked == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("threads", [1, THREADS])
def test_an_error_is_raised_in_the_place_of_its_result_and_ends_all(threads: int) -> None:
    asked: list[int] = []

    def work(number: int) -> float:
        return 1 / (number - 2)

    results = in_order(numbers(asked), work, threads)
    assert [next(results), next(results)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []
    assert len(asked) < 10


@pytest.mark.parametrize("end", [0, 1])
def test_one_job_needs_no_thread(end: int) -> None:
    doing = [threading.current_thread()] * end
    assert list(in_order(numbers([], end), lambda _: threading.current_thread(), THREADS)) == doing


@pytest.mark.parametrize("rule", ["fedavg", "fednova", "scaffold", "fedavgm", "fedadam", "median"])
def test_threads_compute_the_same_bytes_as_one(rule: Aggregation, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    shapes = {"w": (3, 300_000), "b": (5,)}
    model, *updates = (
        {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()} for _ in range(5)
    )
    facts = [UpdateFacts(num_examples=10 + k, loss=1.0, num_steps=1 + k) for k in range(4)]

    def computed(cores: int) -> list[bytes]:
        monkeypatch.setattr("os.cpu_count", lambda: cores)
        new = next_model(TrainingConfig(name="t", aggregation=rule), Updates(model, updates), facts, population=9)
        blocks = [block.tobytes() for block in new.blocks]
        return blocks + [tensor.tobytes() for tensor in (new.optimiser.state() or {}).values()]

    assert computed(4) == computed(1)


def test_memory_is_given_back_after_the_last_block() -> None:
    model = {"w": np.zeros(3_000_000, np.float32)}
    released: list[str] = []
    updates = Updates(model, [model], release=lambda: released.append("again"))
    new = next_model(TrainingConfig(name="t"), updates, [UpdateFacts(num_examples=1, loss=1.0)])
    count = sum(1 for _ in new.blocks)
    assert count == 46  # of 65 536 values
    assert released.count("again") >= 2
    released.clear()
    assert list(new.blocks) == []
    assert released == []
