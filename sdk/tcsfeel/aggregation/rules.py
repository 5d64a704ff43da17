"""Turn the updates of a round into the next global model."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from tcsfeel.aggregation.blocks import Block, Combine, Updates
from tcsfeel.aggregation.config import Aggregation, AggregationConfig
from tcsfeel.aggregation.in_order import in_order, usual_threads
from tcsfeel.aggregation.mean import WEIGHTS, normalised_mean, weighted_mean
from tcsfeel.aggregation.partials import NEEDS_EACH
from tcsfeel.aggregation.robust import (
    TRIM_FRACTION,
    geometric_median,
    krum,
    median,
    shortage,
    trimmed_mean,
    usual_byzantine,
)
from tcsfeel.aggregation.scaffold import Scaffold
from tcsfeel.aggregation.server import Optimiser, optimiser
from tcsfeel.aggregation.updates import Parameters, UpdateFacts, is_floating
from tcsfeel.aggregation.weights import bounded, bounded_steps
from tcsfeel.errors import ModelNotFinite, UnusableRound


@dataclass(frozen=True, slots=True)
class NextModel:
    """A new model, which is computed while it is read.

    Attributes:
        blocks: the values, flattened, in the order and the dtypes of the model that the updates started from. They can
            be read once. Reading raises `ModelNotFinite` if a value is not finite.
        optimiser: the optimiser, whose `state` has to be given to the next round once all blocks have been read.
    """

    blocks: Iterator[npt.NDArray[Any]]
    optimiser: Optimiser


def next_model(
    config: AggregationConfig,
    updates: Updates,
    facts: Sequence[UpdateFacts],
    *,
    weights: Sequence[float] | None = None,
    members: Sequence[Sequence[UpdateFacts]] | None = None,
    before: Parameters | None = None,
    state: Parameters | None = None,
    population: int | None = None,
) -> NextModel:
    """Combine `updates`.

    Args:
        config: names the rule, whose parameters are the ``server_*`` hyperparameters.
        updates: in an order that is the same each time.
        facts: of each update.
        weights: of each update, in place of those that a mean takes from the facts (see `balance`).
        members: the facts of the clients in each update, if some of them are means (see `partials`); else None.
        before: the model before the round's base model, None in the first round.
        state: what the round before gave as state, None in the first round.
        population: how many clients could have taken part; None if it is not known.

    Raises:
        UnusableRound: there are too few updates for the rule, or none has a weight.
    """
    with np.errstate(over="ignore"):  # of distances between huge values
        combine = combination(config, updates, facts, weights, members)
    step = (
        Scaffold(config, updates, _steps(config, facts), state=state, population=population or 0)
        if config.aggregation == "scaffold"
        else optimiser(config, updates.model, updates.learnt, before, state)
    )
    # A robust rule needs the values of all updates in float64, 64 MiB for each block, so it has one thread.
    threads = usual_threads() if config.aggregation in WEIGHTS else 1
    return NextModel(_blocks(updates, combine, step, threads), step)


def _blocks(updates: Updates, combine: Combine, step: Optimiser, threads: int) -> Iterator[npt.NDArray[Any]]:
    def computed(job: list[tuple[str, slice]]) -> list[npt.NDArray[Any]]:
        with np.errstate(over="ignore", invalid="ignore"):
            return [
                _as_dtype(name, step.step(name, rows, combine(name, rows)), updates.model[name].dtype)
                for name, rows in job
            ]

    for blocks in in_order(updates.jobs(), computed, threads):
        yield from blocks
    updates.release()


def combination(
    config: AggregationConfig,
    updates: Updates,
    facts: Sequence[UpdateFacts],
    weights: Sequence[float] | None = None,
    members: Sequence[Sequence[UpdateFacts]] | None = None,
) -> Combine:
    """Return the training's rule for these updates. Raises `UnusableRound` if they are too few, or have no weight."""
    rule = config.aggregation
    if members is not None:
        if (reason := NEEDS_EACH.get(rule)) is not None:
            raise UnusableRound(f"means of relays cannot be combined by the rule {rule!r}: {reason}")
        return weighted_mean(updates, _together(config, members) if weights is None else list(weights))
    if rule in WEIGHTS:
        weights = bounded([WEIGHTS[rule](fact) for fact in facts] if weights is None else weights, config)
        if rule == "fednova":
            return normalised_mean(updates, weights, _steps(config, facts))
        return weighted_mean(updates, weights)
    if problem := shortage(rule, len(updates), byzantine_clients(config, len(updates))):
        raise UnusableRound(problem)
    return ROBUST[rule](updates, config)


def _together(config: AggregationConfig, members: Sequence[Sequence[UpdateFacts]]) -> list[float]:
    """Return the weight of each update: the sum of those of its members, each of which is bounded as on its own."""
    weigh = WEIGHTS[config.aggregation]
    each = iter(bounded([weigh(fact) for group in members for fact in group], config))
    return [math.fsum(islice(each, len(group))) for group in members]


def _steps(config: AggregationConfig, facts: Sequence[UpdateFacts]) -> list[float]:
    """The local steps that each update counts as."""
    return bounded_steps([fact.num_steps or 1 for fact in facts], config)


def byzantine_clients(config: AggregationConfig, count: int) -> int:
    """Return how many of `count` updates a training's rule assumes to be hostile."""
    return int(config.hyperparameter("server_byzantine_clients", usual_byzantine(count)))


def _trimmed_mean(updates: Updates, config: AggregationConfig) -> Combine:
    return trimmed_mean(updates, config.hyperparameter("server_trim_fraction", TRIM_FRACTION))


def _krum(updates: Updates, config: AggregationConfig) -> Combine:
    return krum(updates, byzantine_clients(config, len(updates)), keep=1)


def _multi_krum(updates: Updates, config: AggregationConfig) -> Combine:
    byzantine = byzantine_clients(config, len(updates))
    return krum(updates, byzantine, keep=len(updates) - byzantine - 2)


# Every rule is here or in `WEIGHTS`.
ROBUST: Mapping[Aggregation, Callable[[Updates, AggregationConfig], Combine]] = {
    "median": lambda updates, _config: median(updates),
    "trimmed_mean": _trimmed_mean,
    "krum": _krum,
    "multi_krum": _multi_krum,
    "geometric_median": lambda updates, _config: geometric_median(updates),
}


def _as_dtype(name: str, value: Block, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Convert values to the model's dtype: integers are rounded and kept in range, booleans are true above 0.5."""
    cast = np.asarray(value, dtype) if is_floating(dtype) else value
    if not np.isfinite(cast).all():
        raise ModelNotFinite(f"tensor {name!r} of the new model is not finite")
    if dtype.kind == "b":
        return value > 1 / 2
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        # float64 has no 2^63 - 1: as a bound it would be 2^63, which overflows
        top = float(limits.max) if int(float(limits.max)) <= limits.max else np.nextafter(float(limits.max), 0.0)
        return np.clip(np.rint(value), float(limits.min), top).astype(dtype)
    return cast
