"""Train a perceptron with one hidden layer by federated averaging, with all clients of a round at the same time.

All clients do plain SGD, each on its own samples only. They are stacked along the first axis of every array, which only
makes it faster. Clients with more samples take more steps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]

CLASSES = 10
HIDDEN = 64
TINY = np.float32(1e-12)


class Model(NamedTuple):
    """The weights and biases, (D, H), (H,), (H, C) and (C,). The models of K clients have K as the first axis."""

    hidden_weight: Floats
    hidden_bias: Floats
    output_weight: Floats
    output_bias: Floats


class Recipe(NamedTuple):
    """How a client trains."""

    epochs: int
    batch: int
    rate: float


class Samples(NamedTuple):
    """The inputs (n, D) and labels (n,)."""

    inputs: Floats
    labels: Rows


def initial(dimensions: int, rng: np.random.Generator) -> Model:
    """Draw initial weights (He et al., "Delving deep into rectifiers", 2015). The biases are 0."""

    def weights(fan_in: int, fan_out: int) -> Floats:
        return rng.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out)).astype(np.float32)

    return Model(
        weights(dimensions, HIDDEN),
        np.zeros(HIDDEN, np.float32),
        weights(HIDDEN, CLASSES),
        np.zeros(CLASSES, np.float32),
    )


def accuracy(model: Model, samples: Samples) -> float:
    """Return the share that is classified correctly, 0..1."""
    active = np.maximum(samples.inputs @ model.hidden_weight + model.hidden_bias, 0)
    scores = active @ model.output_weight + model.output_bias
    return float((scores.argmax(axis=1) == samples.labels).mean())


def federated_average(updates: Model, examples: npt.NDArray[np.intp]) -> Model:
    """Return the mean of K models, weighted by their examples (K,) (McMahan et al., 2017)."""
    weights = (examples / examples.sum()).astype(np.float32)
    return Model(*(np.tensordot(weights, layer, axes=1) for layer in updates))


def steps_of(count: int, recipe: Recipe) -> int:
    """How many steps a client with so many samples takes."""
    return recipe.epochs * -(-count // recipe.batch)


def local_training(
    model: Model,
    samples: Samples,
    parts: Sequence[Rows],
    recipe: Recipe,
    rng: np.random.Generator,
    *,
    corrections: Model | None = None,
) -> tuple[Model, npt.NDArray[np.float64]]:
    """Let K clients train from `model`, each on the rows of its part.

    Args:
        model: what all of them begin with.
        samples: of all clients.
        parts: the rows of each client.
        recipe: how they train.
        rng: draws the batches.
        corrections: what each client adds to its gradients, with K as the first axis.

    Returns:
        Their models, and the mean loss of each client's steps (K,) in nats.
    """
    plans = [_batches(part, recipe, rng) for part in parts]
    steps = np.array([len(plan) for plan in plans])
    order = np.argsort(-steps, kind="stable")  # so the clients that still have steps left come first
    models = Model(*(np.repeat(layer[np.newaxis], len(parts), axis=0) for layer in model))
    losses = np.zeros(len(parts))
    added = None if corrections is None else Model(*(layer[order] for layer in corrections))
    for step in range(steps.max()):
        busy = order[: np.count_nonzero(steps > step)]
        rows = np.stack([plans[client][step] for client in busy])
        present = rows >= 0
        working = Model(*(layer[: len(busy)] for layer in models))
        losses[: len(busy)] += _step(working, samples.inputs[rows], samples.labels[rows], present, recipe.rate)
        if added is not None:
            for layer, more in zip(working, added, strict=True):
                np.subtract(layer, np.float32(recipe.rate) * more[: len(busy)], out=layer)
    back = np.argsort(order)
    return Model(*(layer[back] for layer in models)), losses[back] / steps


def _batches(part: Rows, recipe: Recipe, rng: np.random.Generator) -> Rows:
    """Return the rows (steps, batch) in a new random order for every epoch, filled up with -1 after each epoch."""
    per_epoch = -(-len(part) // recipe.batch)
    plan = np.full((recipe.epochs, per_epoch * recipe.batch), -1, dtype=np.intp)
    for epoch in plan:
        epoch[: len(part)] = rng.permutation(part)
    return plan.reshape(-1, recipe.batch)


def _step(models: Model, inputs: Floats, labels: Rows, present: npt.NDArray[np.bool_], rate: float) -> Floats:
    """Make a step of K models in place, and return the mean losses (K,) before it.

    The inputs are (K, B, D), and `present` (K, B) tells which of them exist.
    """
    weights = (present / present.sum(axis=1, keepdims=True)).astype(np.float32)
    active = np.maximum(inputs @ models.hidden_weight + models.hidden_bias[:, np.newaxis], 0)
    scores = active @ models.output_weight + models.output_bias[:, np.newaxis]
    scores -= scores.max(axis=2, keepdims=True)
    error = np.exp(scores)
    error /= error.sum(axis=2, keepdims=True)
    own = labels[..., np.newaxis]
    likelihood = np.take_along_axis(error, own, axis=2)
    losses = -(np.log(likelihood + TINY)[..., 0] * weights).sum(axis=1)
    np.put_along_axis(error, own, likelihood - 1, axis=2)
    error *= weights[..., np.newaxis]
    behind = (error @ models.output_weight.transpose(0, 2, 1)) * (active > 0)
    slopes = Model(
        inputs.transpose(0, 2, 1) @ behind, behind.sum(axis=1), active.transpose(0, 2, 1) @ error, error.sum(axis=1)
    )
    for layer, slope in zip(models, slopes, strict=True):
        np.subtract(layer, np.float32(rate) * slope, out=layer)
    return np.asarray(losses)
