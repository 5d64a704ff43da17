import numpy as np
import pytest

from app.demo import mlp
from app.demo.digits import shards

RNG = np.random.default_rng(5)
INPUTS = RNG.random((6, 64)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 9, 9])


@pytest.mark.parametrize("name", ["hidden.weight", "hidden.bias", "output.weight", "output.bias"])
def test_gradients_are_the_slopes_of_the_loss(name: str) -> None:
    parameters = {key: array.astype(np.float64) for key, array in mlp.initial(np.random.default_rng(1)).items()}
    slopes = mlp.gradients(parameters, INPUTS, LABELS)[name]
    place = np.unravel_index(np.abs(slopes).argmax(), slopes.shape)
    values = []
    for step in (1e-5, -1e-5):
        moved = parameters[name].copy()
        moved[place] += step
        values.append(mlp.measure(parameters | {name: moved}, INPUTS, LABELS)[0])
    assert slopes[place] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


def test_without_knowledge_the_loss_is_that_of_a_guess_among_ten() -> None:
    blank = {name: np.zeros_like(array) for name, array in mlp.initial(np.random.default_rng(1)).items()}
    loss, accuracy = mlp.measure(blank, INPUTS, LABELS)
    assert loss == pytest.approx(np.log(10))
    assert accuracy == pytest.approx(1 / 6)  # all are called 0


def test_training_learns_digits_and_leaves_what_it_was_given() -> None:
    shard = shards(10, np.random.default_rng(1))[0]
    start = mlp.initial(np.random.default_rng(1))
    for array in start.values():
        array.setflags(write=False)
    trained, again = (
        mlp.train(
            start, shard.train_inputs, shard.train_labels, epochs=5, rate=0.5, batch=10, rng=np.random.default_rng(2)
        )
        for _ in range(2)
    )
    assert mlp.measure(trained, shard.train_inputs, shard.train_labels)[1] > 0.9
    assert {name: array.dtype for name, array in trained.items()} == dict.fromkeys(start, np.dtype(np.float32))
    assert all((trained[name] == again[name]).all() for name in start)
    assert mlp.size(start) == 64 * 64 + 64 + 64 * 10 + 10
