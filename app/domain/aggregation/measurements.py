"""What clients measured of a model, as one accuracy and one loss."""

from collections.abc import Iterable

from app.domain.aggregation.updates import UpdateFacts
from app.domain.aggregation.weights import bounded, mean_of
from app.domain.trainings import TrainingConfig


def mean_by_examples(measured: Iterable[UpdateFacts], config: TrainingConfig) -> tuple[float, float] | None:
    """Accuracy and loss over everything that was measured; None of nothing.

    Each client counts by its examples, as far as the training's bounds let one client count.
    """
    results = [result for result in measured if result.num_examples > 0]
    if not results:
        return None
    weights = bounded([float(result.num_examples) for result in results], config)
    accuracy = mean_of([result.accuracy for result in results], weights)
    return accuracy, mean_of([result.loss for result in results], weights)
