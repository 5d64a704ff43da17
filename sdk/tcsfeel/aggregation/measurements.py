"""Combine what clients measured into one accuracy and one loss, and tell whether a target is reached.

The server cannot check the measurements that a client reports. Besides the weights, three bounds limit the effect of a
false report:

- An accuracy counts as at most `LIKELY` standard errors away from the median. An accuracy p over n examples has the
  variance p(1-p)/n; its p is the median's, drawn towards a half by two successes and two failures (Agresti and Coull,
  "Approximate is better than 'exact'", The American Statistician 52, 1998), so that few examples make it wide. The
  spread of the others is added: their median absolute deviation, which is 1.4826 times smaller than a standard
  deviation. Clients with data of different kinds differ by far more than chance, also where most of them agree closely:
  nothing closer than `HONEST_DIFFERENCE` is touched.
- A loss has no scale that is known beforehand. It counts as at most `LARGEST_MULTIPLE` times as far from the median as
  three quarters of the others, or as the median is from 0.
- A target is reached only if it is reached without any one of the clients: this decides. The others limit what is
  shown.

With fewer than `ENOUGH` clients, there is no telling which is right, and all are believed.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tcsfeel.aggregation.config import AggregationConfig
from tcsfeel.aggregation.updates import UpdateFacts
from tcsfeel.aggregation.weights import bounded, mean_of

ENOUGH = 3
LIKELY = 3.0
HONEST_DIFFERENCE = 0.4
LARGEST_MULTIPLE = 10.0
SMALLEST_LOSS_SCALE = 0.1  # or one loss above 0 would count as 0 where nearly all the others are 0
_DEVIATIONS = 1.4826  # of a normal distribution: its standard deviation by its median absolute deviation


@dataclass(frozen=True, slots=True)
class TargetDoubt:
    """Why an accuracy that reached the target was not accepted: it rests on what one client measured.

    Attributes:
        accuracy: the mean without this client, which is below the target.
    """

    client_id: str
    accuracy: float


def mean_by_examples(measured: Iterable[UpdateFacts], config: AggregationConfig) -> tuple[float, float] | None:
    """Return accuracy and loss over everything that was measured; None if nothing was.

    Each client counts by its examples, as far as the training's bounds let one client count.
    """
    results = [result for result in measured if result.num_examples > 0]
    if not results:
        return None
    weights = _weights(results, config)
    return mean_of(_accuracies(results), weights), mean_of(_losses(results), weights)


def target_doubt(measured: Mapping[str, UpdateFacts], config: AggregationConfig, target: float) -> TargetDoubt | None:
    """Say why a mean accuracy that reaches `target` is not to be accepted; give None where it is, or does not.

    The client that lifts the mean most is left out. With the others' weights as they are, no other choice leaves less.
    """
    results = {client_id: result for client_id, result in measured.items() if result.num_examples > 0}
    if len(results) < ENOUGH:
        return None
    facts = list(results.values())
    weights, accuracies = _weights(facts, config), _accuracies(facts)
    mean, total = mean_of(accuracies, weights), math.fsum(weights)
    if mean < target:
        return None

    def lift(index: int) -> float:
        return weights[index] * (accuracies[index] - mean) / (total - weights[index])

    most = max(range(len(facts)), key=lift)
    without = mean_of(accuracies[:most] + accuracies[most + 1 :], weights[:most] + weights[most + 1 :])
    return TargetDoubt(list(results)[most], without) if without < target else None


def _weights(results: Sequence[UpdateFacts], config: AggregationConfig) -> list[float]:
    return bounded([float(result.num_examples) for result in results], config)


def _accuracies(results: Sequence[UpdateFacts]) -> list[float]:
    values = [result.accuracy for result in results]
    median = _median(values)
    spread = _DEVIATIONS * _median([abs(value - median) for value in values])

    def reach(index: int) -> float:
        examples = results[index].num_examples
        likely = (examples * median + 2.0) / (examples + 4.0)
        return max(HONEST_DIFFERENCE, LIKELY * math.hypot(spread, math.sqrt(likely * (1.0 - likely) / examples)))

    return _within(values, median, reach)


def _losses(results: Sequence[UpdateFacts]) -> list[float]:
    values = [result.loss for result in results]
    median = _median(values)
    distances = sorted((abs(value - median) for value in values), reverse=True)
    usual = distances[min(len(distances) - 1, max(1, len(distances) // 4))]
    reach = LARGEST_MULTIPLE * max(usual, abs(median), SMALLEST_LOSS_SCALE)
    return _within(values, median, lambda _index: reach)


def _within(values: list[float], median: float, reach: Callable[[int], float]) -> list[float]:
    """The values, each at most its `reach` away from the median, where there are enough of them."""
    if len(values) < ENOUGH:
        return values
    return [min(max(value, median - reach(i)), median + reach(i)) for i, value in enumerate(values)]


def _median(values: Sequence[float]) -> float:
    """Return the middle value; of an even number the lower of the two."""
    return sorted(values)[(len(values) - 1) // 2]
