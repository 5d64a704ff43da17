"""Combine a round's updates by a rule of the product, and keep what SCAFFOLD keeps at the server and at the clients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.domain.balance import balanced_within_bounds
from app.domain.weighing import believable_skew
from benchmarks.selection.learning import Model, Recipe, steps_of
from tcsfeel.aggregation import Parameters, UpdateFacts, Updates, next_model
from tcsfeel.aggregation.config import Aggregation, AggregationConfig
from tcsfeel.selection.types import Candidate
from tcsfeel.wire.tasks import Scalar

Counts = npt.NDArray[np.intp]


class Rule:
    """One training's rule, from round to round.

    Args:
        name: of the rule.
        recipe: how clients train.
        samples: (N,) of each client.
        hyperparameters: of the rule.
    """

    def __init__(
        self, name: Aggregation, recipe: Recipe, samples: Counts, hyperparameters: Mapping[str, Scalar] | None = None
    ) -> None:
        given = {"learning_rate": recipe.rate} | dict(hyperparameters or {})
        self._config = AggregationConfig(aggregation=name, hyperparameters=given)
        self._recipe = recipe
        self._samples = samples
        self._before: Model | None = None
        self._state: Parameters | None = None
        self._own: dict[int, Model] = {}
        self._skew: npt.NDArray[np.float64] | None = None

    def corrections(self, members: Sequence[int]) -> Model | None:
        """What K clients add to their gradients, with K as the first axis; None if nothing."""
        if self._state is None or self._config.aggregation != "scaffold":
            return None
        server = Model(**self._state)
        zero = Model(*map(np.zeros_like, server))
        own = [self._own.get(member, zero) for member in members]
        return Model(*(layer - np.stack(theirs) for layer, theirs in zip(server, zip(*own, strict=True), strict=True)))

    def combine(
        self,
        model: Model,
        updates: Model,
        members: Sequence[int],
        fleet: Sequence[Candidate] = (),
        means: Sequence[int] | None = None,
        *,
        steps: Sequence[int] | None = None,
    ) -> Model:
        """The next model from K updates, with K as the first axis.

        `fleet` is what is known of all N clients, and `means` the number of the relay's mean that each update is in.
        `steps` is how many each client took, which are those of all epochs by default.
        """
        if steps is None:
            steps = [steps_of(int(self._samples[member]), self._recipe) for member in members]
        facts = [
            UpdateFacts(int(self._samples[member]), 0.0, {"accuracy": 1.0}, num_steps=count)
            for member, count in zip(members, steps, strict=True)
        ]
        named = model._asdict()
        each = [
            {name: layer[position] for name, layer in updates._asdict().items()} for position in range(len(members))
        ]
        new = next_model(
            self._config,
            Updates(named, each),
            facts,
            weights=self._weights(members, fleet, means),
            before=None if self._before is None else self._before._asdict(),
            state=self._state,
            population=len(self._samples),
        )
        blocks = list(new.blocks)  # the layers are smaller than a block
        if self._config.aggregation == "scaffold":
            self._learn(model, updates, members, steps)
        self._before, self._state = model, new.optimiser.state()
        return Model(*(block.reshape(layer.shape) for block, layer in zip(blocks, model, strict=True)))

    def _weights(
        self, members: Sequence[int], fleet: Sequence[Candidate], means: Sequence[int] | None
    ) -> list[float] | None:
        """The weights of updates that the rule `balanced` gives them."""
        if self._config.aggregation != "balanced":
            return None
        if self._skew is None or fleet[0].data_distribution is None:
            self._skew = believable_skew(fleet)
        examples = [float(self._samples[member]) for member in members]
        return balanced_within_bounds(examples, self._skew[list(members)], self._config, means)

    def _learn(self, model: Model, updates: Model, members: Sequence[int], steps: Sequence[int]) -> None:
        """The clients' own control variates after a round."""
        corrections = self.corrections(members)
        for position, (member, count) in enumerate(zip(members, steps, strict=True)):
            moved = [
                (layer - local[position]) / np.float32(count * self._recipe.rate)
                for layer, local in zip(model, updates, strict=True)
            ]
            added: Sequence[Any] = (
                [0.0] * len(moved) if corrections is None else [layer[position] for layer in corrections]
            )
            self._own[member] = Model(*(one - other for one, other in zip(moved, added, strict=True)))
