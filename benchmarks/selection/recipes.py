"""Compare the recipes of trainings with each other, and with strategies that have the same server optimiser.

There are two baselines. `fedavg` is federated averaging of randomly chosen clients. `random + momentum` has the server
optimiser of the recipe `tcs-feel`, so against it only the selection and the weights count.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from benchmarks.selection.bars import SIZES, Verdict
from benchmarks.selection.comparison import Comparison, standard_error
from benchmarks.selection.published import PUBLISHED
from benchmarks.selection.trial import Contender, Setting
from tcsfeel.contract.recipes import RECIPES
from tcsfeel.selection.types import LARGEST_MULTIPLE, Weights

FEDAVG, SAME = "fedavg", "random + momentum"
OURS, RELAYED = "recipe tcs-feel", "recipe tcs-feel-relay"
OTHERS = ("power-of-choice", "oort", *PUBLISHED)
PARTITIONS = ("shards-2", "dirichlet-0.1", "dirichlet-0.3", "dirichlet-1.0", "iid")
SEEDS, ROUNDS = range(401, 421), 100

Comparisons = Mapping[str, Comparison]


def contenders() -> list[Contender]:
    """Return the recipes and the strategies that they are compared with, the baselines first."""
    ours, relayed = _of_recipe(OURS, "tcs-feel"), _of_recipe(RELAYED, "tcs-feel-relay")
    settings, strategy = ours.hyperparameters, ours.strategy
    return [
        Contender(FEDAVG, RECIPES["fedavg"]["selection"]["strategy"]),
        Contender(SAME, "random", hyperparameters=settings),
        Contender("tcs-feel, fedavg", strategy, largest_multiple=LARGEST_MULTIPLE),
        ours,
        relayed,
        Contender("random + weights + momentum", "random", rule=ours.rule, hyperparameters=settings),
        *(Contender(f"{name} + momentum", name, hyperparameters=settings) for name in OTHERS),
    ]


def _of_recipe(name: str, recipe: str) -> Contender:
    """Return a recipe of the API as a contender."""
    fields = RECIPES[recipe]
    return Contender(
        name,
        fields["selection"]["strategy"],
        topology=fields["topology"],
        weights=Weights(**fields["selection"]["weights"]),
        rule=fields["aggregation"],
        hyperparameters=fields["hyperparameters"],
        largest_multiple=LARGEST_MULTIPLE,
        elastic=fields["round_policy"]["local_work"] == "elastic",
    )


def verdicts(setting: Setting, plain: Comparisons, same: Comparisons) -> Iterator[Verdict]:
    """Judge every bar of a setting for which there are results: against `fedavg`, and against the same optimiser."""
    if setting.clients not in SIZES or OURS not in plain:
        return
    where = f"{setting.dataset} {setting.partition} N={setting.clients}"
    if setting.partition == "shards-2":
        for name, most in ((OURS, 1 / 2.4), (RELAYED, 1 / 6)):
            yield from _against_fedavg(f"{where}, {name}", plain[name], most)
        for name in (OURS, RELAYED):
            yield from _against_same(f"{where}, {name}, same optimiser", same[name])
        return
    best = max((name for name in plain if name.endswith("momentum")), key=lambda name: plain[name].final.mean())
    for name in (OURS, RELAYED):
        behind = plain[best].final - plain[name].final
        error = standard_error(behind)
        held = float(behind.mean()) <= error
        yield Verdict(f"{where}, {name}, accuracy {-behind.mean():+.4f} ± {error:.4f} against {best}", held)
    cost = float(np.median(plain[RELAYED].cost))
    yield Verdict(f"{where}, {RELAYED}, link time {cost:.2f}, bar {1 / 2.5:.2f}", cost <= 1 / 2.5)


def _against_fedavg(where: str, found: Comparison, most: float) -> Iterator[Verdict]:
    fewer, cost, seconds, jain = (
        float(np.median(values)) for values in (found.fewer_rounds, found.cost, found.seconds, found.jain)
    )
    gain = float(np.median(found.gain))
    yield Verdict(f"{where}, {fewer:.2f} times fewer rounds, bar 2.7", fewer >= 2.7)
    yield Verdict(f"{where}, link time {cost:.3f}, bar {most:.3f}", cost <= most)
    yield Verdict(f"{where}, time {seconds:.3f}, bar {1 / 3.8:.3f}", seconds <= 1 / 3.8)
    yield Verdict(f"{where}, accuracy {100 * gain:+.1f} points, bar +2.0", gain >= 0.02)
    yield Verdict(f"{where}, Jain {jain:.3f}, bar 0.95", jain >= 0.95)
    yield Verdict(f"{where}, {found.missed} misses, bar 0", found.missed == 0)


def _against_same(where: str, found: Comparison) -> Iterator[Verdict]:
    fewer, cost, seconds = (float(np.median(values)) for values in (found.fewer_rounds, found.cost, found.seconds))
    gain, error = float(found.gain.mean()), standard_error(found.gain)
    yield Verdict(f"{where}, {fewer:.2f} times fewer rounds, bar 1", fewer >= 1)
    yield Verdict(f"{where}, link time {cost:.2f}, bar {1 / 2.6:.2f}", cost <= 1 / 2.6)
    yield Verdict(f"{where}, time {seconds:.2f}, bar {1 / 1.5:.2f}", seconds <= 1 / 1.5)
    yield Verdict(f"{where}, accuracy {gain:+.4f}, bar {-error:.4f} (one standard error)", gain >= -error)
