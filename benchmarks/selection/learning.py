"""Train a perceptron with one hidden layer by federated averaging, with all clients of a round at the same time.

All clients do plain SGD, each on its own samples only. They are stacked along the first axis of every array, which only
makes it faster; so are those of several trainings. Clients with more samples take more steps.
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
    plans = [batches(part, recipe, rng) for part in parts]
    return side_by_side(copies(model, len(parts)), samples, plans, recipe.rate, corrections)


def copies(model: Model, count: int) -> Model:
    """Return `count` copies of a model, with the copies as the first axis."""
    return Model(*(np.repeat(layer[np.newaxis], count, axis=0) for layer in model))


def stacked(models: Sequence[Model]) -> Model:
    """Return models that are stacked along the first axis as one stack."""
    return Model(*(np.concatenate(layers) for layers in zip(*models, strict=True)))


def batches(part: Rows, recipe: Recipe, rng: np.random.Generator) -> Rows:
    """Return the rows (steps, batch) in a new random order for every epoch, filled up with -1 after each epoch."""
    per_epoch = -(-len(part) // recipe.batch)
    plan = np.full((recipe.epochs, per_epoch * recipe.batch), -1, dtype=np.intp)
    for epoch in plan:
        epoch[: len(part)] = rng.permutation(part)
    return plan.reshape(-1, recipe.batch)


def side_by_side(
    models: Model, samples: Samples, plans: Sequence[Rows], rate: float, corrections: Model | None = None
) -> tuple[Model, npt.NDArray[np.float64]]:
    """Let K clients train at the same time, each from its own model. They may belong to different trainings.

    Args:
        models: what each client begins with, with K as the first axis.
        samples: of all clients.
        plans: the rows (steps, batch) of each client's steps, -1 for none.
        rate: of the steps.
        corrections: what each client adds to its gradients, with K as the first axis.

    Returns:
        Their models, and the mean loss of each client's steps (K,) in nats.
    """
    steps = np.array([len(plan) for plan in plans])
    order = np.argsort(-steps, kind="stable")  # so the clients that still have steps left come first
    rows = np.full((steps.max(), len(plans), plans[0].shape[1]), -1, dtype=np.intp)
    for place, client in enumerate(order):
        rows[: steps[client], place] = plans[client]
    present = rows >= 0
    weights = (present / np.maximum(present.sum(axis=2, keepdims=True), 1)).astype(np.float32)
    models = Model(*(layer[order] for layer in models))
    added = None if corrections is None else Model(*(np.float32(rate) * layer[order] for layer in corrections))
    likelihoods = np.ones(rows.shape, np.float32)
    for step, planned in enumerate(rows):
        busy = np.count_nonzero(steps > step)
        working = Model(*(layer[:busy] for layer in models))
        taken, weight = planned[:busy], np.float32(rate) * weights[step, :busy]
        likelihoods[step, :busy] = _step(working, samples.inputs.take(taken, axis=0), samples.labels[taken], weight)
        if added is not None:
            for layer, more in zip(working, added, strict=True):
                np.subtract(layer, more[:busy], out=layer)
    losses = -(np.log(likelihoods + TINY) * weights).sum(axis=(0, 2), dtype=np.float64)
    back = np.argsort(order)
    return Model(*(layer[back] for layer in models)), losses[back] / steps


def _step(models: Model, inputs: Floats, labels: Rows, weights: Floats) -> Floats:
    """Make a step of K models in place, and return the likelihoods of the labels (K, B) before it.

    The inputs are (K, B, D), and `weights` (K, B) are the rate times the weight of each sample, 0 if there is none.
    """
    active = inputs @ models.hidden_weight
    active += models.hidden_bias[:, np.newaxis]
    np.maximum(active, 0, out=active)
    error = active @ models.output_weight
    error += models.output_bias[:, np.newaxis]
    error -= error.max(axis=2, keepdims=True)
    np.exp(error, out=error)
    error /= error.sum(axis=2, keepdims=True)
    own = (np.arange(len(labels))[:, np.newaxis], np.arange(labels.shape[1]), labels)
    likelihoods = error[own]
    error[own] -= 1
    error *= weights[..., np.newaxis]
    behind = error @ models.output_weight.transpose(0, 2, 1)
    behind *= active > 0
    slopes = (
        inputs.transpose(0, 2, 1) @ behind,
        behind.sum(axis=1),
        active.transpose(0, 2, 1) @ error,
        error.sum(axis=1),
    )
    for layer, slope in zip(models, slopes, strict=True):
        np.subtract(layer, slope, out=layer)
    return np.asarray(likelihoods)
