"""Sum up what clients measured, metric by metric, and tell whether a target is reached.

The server cannot check the measurements that a client reports. Besides the weights, three bounds limit the effect of a
false report:

- An accuracy counts as at most `LIKELY` standard errors away from the median. An accuracy p over n examples has the
  variance p(1-p)/n; its p is the median's, drawn towards a half by two successes and two failures (Agresti and Coull,
  "Approximate is better than 'exact'", The American Statistician 52, 1998), so that few examples make it wide. The
  spread of the others is added: their median absolute deviation, which is 1.4826 times smaller than a standard
  deviation. Clients with data of different kinds differ by far more than chance, even if most of them agree closely, so
  no accuracy that is closer than `HONEST_DIFFERENCE` is changed.
- A loss, or any other metric, has no scale that is known beforehand. It counts as at most `LARGEST_MULTIPLE` times as
  far from the median as three quarters of the others, or as the median is from 0.
- A target is reached only if it is reached without any one of the clients. This bound decides when a training ends; the
  others limit the values that are shown.

With fewer than `ENOUGH` clients nothing shows which of them is right, so all of them are believed.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tcsfeel.aggregation.config import AggregationConfig
from tcsfeel.aggregation.goals import Goal
from tcsfeel.aggregation.updates import UpdateFacts
from tcsfeel.aggregation.weights import bounded, mean_of
from tcsfeel.wire.tasks import ACCURACY, LOSS

ENOUGH = 3
LIKELY = 3.0
HONEST_DIFFERENCE = 0.4
LARGEST_MULTIPLE = 10.0
MOST_SUMMARIES = 64
SMALLEST_SCALE = 0.1  # or one value above 0 would count as 0 where nearly all the others are 0
_DEVIATIONS = 1.4826  # of a normal distribution: its standard deviation by its median absolute deviation


@dataclass(frozen=True, slots=True)
class Summary:
    """Sums up the values that clients measured for one metric.

    Attributes:
        mean: weighted by examples, as far as the training's bounds let one client count.
        min: the smallest value of a client.
        p25: the value that a quarter of the clients are not above.
        p50: the median over the clients.
        p75: the value that three quarters of the clients are not above.
        max: the largest value of a client.
        clients: how many measured it.
    """

    mean: float
    min: float
    p25: float
    p50: float
    p75: float
    max: float
    clients: int


@dataclass(frozen=True, slots=True)
class TargetDoubt:
    """Says why a value that reached the target was not accepted: it depends on the measurement of one client.

    Attributes:
        client_id: the client.
        mean: the mean without this client, which does not reach the target.
    """

    client_id: str
    mean: float


def summaries(measured: Iterable[UpdateFacts], config: AggregationConfig) -> dict[str, Summary]:
    """Sum up each metric that was measured, the loss first.

    If there are more than `MOST_SUMMARIES` metrics, those that the fewest clients measured are left out.
    """
    results = [result for result in measured if result.num_examples > 0]
    if not results:
        return {}
    counted = Counter(name for result in results for name in result.metrics)
    names = sorted(counted, key=lambda name: (-counted[name], name))[: MOST_SUMMARIES - 1]
    return {name: _summary(name, results, config) for name in (LOSS, *sorted(names))}


def target_doubt(measured: Mapping[str, UpdateFacts], config: AggregationConfig, goal: Goal) -> TargetDoubt | None:
    """Say why a mean that reaches the target is not accepted. Returns None if it is accepted, or does not reach it.

    The client that helps the mean most is left out. With the weights of the others as they are, leaving out any other
    client gives a better mean.
    """
    results = {
        client_id: result
        for client_id, result in measured.items()
        if result.num_examples > 0 and result.value_of(goal.metric) is not None
    }
    if len(results) < ENOUGH:
        return None
    facts = list(results.values())
    weights, values = _weights(facts, config), _believed(goal.metric, facts)
    mean, total = mean_of(values, weights), math.fsum(weights)
    if not goal.reached(mean):
        return None

    def help_of(index: int) -> float:
        return weights[index] * goal.gain(values[index], mean) / (total - weights[index])

    most = max(range(len(facts)), key=help_of)
    without = mean_of(values[:most] + values[most + 1 :], weights[:most] + weights[most + 1 :])
    return None if goal.reached(without) else TargetDoubt(list(results)[most], without)


def _summary(metric: str, results: Sequence[UpdateFacts], config: AggregationConfig) -> Summary:
    having = [result for result in results if result.value_of(metric) is not None]
    raw = [result.value_of(metric) or 0.0 for result in having]
    p25, p50, p75 = (_share_of(raw, share) for share in (0.25, 0.5, 0.75))
    mean = mean_of(_believed(metric, having), _weights(having, config))
    return Summary(mean, min(raw), p25, p50, p75, max(raw), len(raw))


def _share_of(values: Sequence[float], share: float) -> float:
    """Return the smallest of the values that this share of them does not exceed; nothing is interpolated."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _believed(metric: str, results: Sequence[UpdateFacts]) -> list[float]:
    """Return the values of a metric that all the results have, each moved to within its bound."""
    values = [result.value_of(metric) or 0.0 for result in results]
    if len(values) < ENOUGH:
        return values
    return _accuracies(values, results) if metric == ACCURACY else _unscaled(values)


def _weights(results: Sequence[UpdateFacts], config: AggregationConfig) -> list[float]:
    return bounded([float(result.num_examples) for result in results], config)


def _accuracies(values: Sequence[float], results: Sequence[UpdateFacts]) -> list[float]:
    median = _median(values)
    spread = _DEVIATIONS * _median([abs(value - median) for value in values])

    def reach(index: int) -> float:
        examples = results[index].num_examples
        likely = (examples * median + 2.0) / (examples + 4.0)
        return max(HONEST_DIFFERENCE, LIKELY * math.hypot(spread, math.sqrt(likely * (1.0 - likely) / examples)))

    return _within(values, median, reach)


def _unscaled(values: Sequence[float]) -> list[float]:
    median = _median(values)
    distances = sorted((abs(value - median) for value in values), reverse=True)
    usual = distances[max(1, len(distances) // 4)]
    reach = LARGEST_MULTIPLE * max(usual, abs(median), SMALLEST_SCALE)
    return _within(values, median, lambda _index: reach)


def _within(values: Sequence[float], median: float, reach: Callable[[int], float]) -> list[float]:
    """Move each value to within its `reach` of the median."""
    return [min(max(value, median - reach(i)), median + reach(i)) for i, value in enumerate(values)]


def _median(values: Sequence[float]) -> float:
    """Return the middle value; of an even number the lower of the two."""
    return sorted(values)[(len(values) - 1) // 2]
