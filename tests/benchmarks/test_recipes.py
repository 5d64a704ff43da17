"""The comparison of recipes: who takes part in it, the strategies of other papers, and how the bars are judged.

Covers: benchmarks.selection.recipes
"""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.selection.comparison import Comparison
from benchmarks.selection.data import digits, partition
from benchmarks.selection.learning import Recipe, initial
from benchmarks.selection.published import PUBLISHED, divfl, fed_cbs, fedlecc
from benchmarks.selection.recipes import FEDAVG, OURS, RELAYED, SAME, contenders, verdicts
from benchmarks.selection.rules import Rule
from benchmarks.selection.trial import Contender, Setting, means_of, train, train_each
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.contract.recipes import RECIPES
from tcsfeel.selection.types import Candidate, History, Plan, SelectionPolicy, Weights
from tcsfeel.transfers import Topology
from tests.tcsfeel.worlds import candidates, pool

SHARDS = Setting("digits", "shards-2", 50, 10, 100)


def test_the_recipes_are_those_of_the_api_and_every_other_strategy_has_their_optimiser() -> None:
    found = {one.name: one for one in contenders()}
    assert found[FEDAVG] == Contender(FEDAVG, "random")
    ours = found[OURS]
    assert (ours.strategy, ours.rule) == ("tcs-feel", RECIPES["tcs-feel"]["aggregation"])
    for one, recipe in ((ours, "tcs-feel"), (found[RELAYED], "tcs-feel-relay")):
        assert one.weights == Weights(**RECIPES[recipe]["selection"]["weights"]) != Weights()
    assert replace(ours, name=RELAYED, topology="relay", weights=found[RELAYED].weights) == found[RELAYED]
    assert {one.name for one in found.values() if one.elastic} == {OURS, RELAYED}
    optimised = {one.name for one in found.values() if one.hyperparameters == RECIPES["tcs-feel"]["hyperparameters"]}
    assert optimised == found.keys() - {FEDAVG, "tcs-feel, fedavg"}
    assert {f"{name} + momentum" for name in PUBLISHED} < optimised


def test_updates_are_in_the_mean_of_a_relay_that_came_back() -> None:
    plan = Plan("relay", {"r": None, "a": "r", "b": "r", "s": None, "c": "s", "d": None})
    assert means_of(plan, ["r", "a", "b", "s", "c", "d"]) == [0, 0, 0, 1, 1, 2]
    assert means_of(plan, ["a", "s", "b", "d"]) == [0, 1, 2, 3], "the children of r are asked directly"


def fleet(*labels: list[float], **columns: list[object]) -> list[Candidate]:
    return candidates(len(labels), data_distribution=labels, **columns)


POLICY = SelectionPolicy(min_clients=2, max_clients=2)


def test_fed_cbs_draws_sets_that_are_balanced() -> None:
    taken = pool(fleet([1, 0], [1, 0], [1, 0], [0, 1]), POLICY)
    drawn = [frozenset(fed_cbs(taken, np.random.default_rng(seed))) for seed in range(200)]
    assert sum(3 in one for one in drawn) > 190
    assert len({*drawn}) >= 3, "the other member is drawn"


def test_fed_cbs_prefers_clients_that_it_has_rarely_chosen() -> None:
    even = fleet(*[[1.0, 0.0]] * 4)
    past = History(tuple(frozenset({"a", "b", "c"}) for _ in range(50)))
    taken = pool(even, replace(POLICY, max_clients=1, min_clients=1), history=past)
    drawn = [fed_cbs(taken, np.random.default_rng(seed))[0] for seed in range(400)]
    assert drawn.count(3) > 200, "a quarter would be 100"


def test_divfl_chooses_one_of_each_kind_and_those_first_that_it_does_not_know() -> None:
    one, other = (1.0, *[0.0] * 31), (-1.0, *[0.0] * 31)
    rng = np.random.default_rng(1)
    assert set(divfl(pool(fleet([1], [1], sketch=[one, None]), POLICY), rng)) == {0, 1}
    taken = pool(fleet(*[[1.0]] * 4, sketch=[one, one, other, other]), POLICY)
    for _ in range(20):
        assert len({place // 2 for place in divfl(taken, rng)}) == 2
    unknown = pool(fleet(*[[1.0]] * 4, sketch=[one, None, other, None]), POLICY)
    assert set(divfl(unknown, rng)) == {1, 3}


def test_fedlecc_chooses_the_highest_losses_of_the_clusters_with_the_highest_losses() -> None:
    labels = [[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, 1.0]]
    taken = pool(fleet(*labels, loss=[1.0, 2.0, 5.0, 6.0, 3.0, 4.5]), replace(POLICY, max_clients=3, min_clients=3))
    assert fedlecc(taken, np.random.default_rng(0)) == [3, 5, 1]
    untried = pool(fleet(*labels, loss=[1.0, None, 5.0, 6.0, 3.0, 4.5]), replace(POLICY, max_clients=1, min_clients=1))
    assert fedlecc(untried, np.random.default_rng(0)) == [1]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_training_with_each_strategy_learns(name: str) -> None:
    trace = train(digits(), Setting("digits", "iid", 20, 5, 6), Contender(name, name), seed=3)
    assert trace.counts.sum() == 30
    assert trace.accuracy[-1] > 0.5, "chance is 0.1"


@pytest.mark.parametrize("rule", ["balanced", "scaffold"])
def test_trainings_of_several_seeds_are_the_same_side_by_side_as_alone(rule: Aggregation) -> None:
    setting = Setting("digits", "dirichlet-0.3", 12, 4, 3)
    contender = Contender("ours", "tcs-feel", rule=rule)
    together = train_each(digits(), setting, contender, [5, 6])
    for seed, trace in zip((5, 6), together, strict=True):
        alone = train(digits(), setting, contender, seed)
        assert np.allclose(trace.accuracy, alone.accuracy, atol=0.003), "at most one of 359 digits, by rounding"
        assert (trace.counts.tolist(), trace.cost.tolist()) == (alone.counts.tolist(), alone.cost.tolist())


@pytest.mark.parametrize("topology", ["star", "relay"])
def test_elastic_work_makes_rounds_shorter_and_changes_no_links(topology: Topology) -> None:
    whole = Contender("whole", "random", topology=topology)
    full, elastic = (
        train(digits(), replace(SHARDS, clients=20, rounds=6), replace(whole, elastic=also), seed=1)
        for also in (False, True)
    )
    assert elastic.seconds.sum() < 0.8 * full.seconds.sum()
    assert (elastic.seconds <= full.seconds).all()
    assert elastic.cost.tolist() == full.cost.tolist()
    assert elastic.accuracy.tolist() != full.accuracy.tolist(), "who takes less time does less work"
    assert elastic.accuracy[-1] > 0.3, "chance is 0.1"


def test_rows_that_are_alike_are_shared_out_evenly() -> None:
    labels = digits().train.labels
    parts = partition(labels, 10, "iid", np.random.default_rng(1))
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert {len(part) for part in parts} == {143, 144}


def test_balanced_weights_make_up_for_labels_that_did_not_arrive() -> None:
    rng = np.random.default_rng(1)
    model, known = initial(64, rng), fleet([1, 0], [1, 0], [0, 1], [0, 1])
    updates = type(model)(*(np.stack([layer, layer, layer + 1]) for layer in model))
    rule = Rule("balanced", Recipe(1, 10, 0.1), np.full(4, 30))
    moved = rule.combine(model, updates, [0, 1, 2], known).hidden_bias - model.hidden_bias
    assert 0.45 < moved[0] < 0.5, "a third by examples"


def comparison(**figures: float) -> Comparison:
    usual = {
        "final": 0.97, "gain": 0.03, "fewer_rounds": 3.0, "cost": 0.15, "seconds": 0.2, "jain": 0.98, "selecting": 0.01,
    }  # fmt: skip
    return Comparison(**{name: np.full(4, value) for name, value in (usual | figures).items()})


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        ({"fewer_rounds": 2.69}, "2.69 times fewer rounds, bar 2.7"),
        ({"cost": 0.42}, "link time 0.420, bar 0.417"),
        ({"seconds": 0.27}, "time 0.270, bar 0.263"),
        ({"gain": 0.0199}, "accuracy +2.0 points, bar +2.0"),
        ({"jain": 0.94}, "Jain 0.940, bar 0.95"),
        ({"cost": np.inf}, "4 misses, bar 0"),
    ],
)
def test_a_bar_against_fedavg_is_missed_by_the_figure_that_is_worse(worse: dict[str, float], said: str) -> None:
    plain, same = comparison(), comparison(fewer_rounds=1.0, cost=0.3, seconds=0.6)
    held = {OURS: plain, RELAYED: plain}
    every = [*verdicts(SHARDS, held, {OURS: same, RELAYED: same})]
    assert len(every) == 20
    assert all(one.held for one in every)
    missed = [one.bar for one in verdicts(SHARDS, held | {OURS: comparison(**worse)}, {OURS: same, RELAYED: same})]
    assert any(said in bar for bar in missed)


def test_where_skew_is_mild_the_best_of_all_with_the_same_optimiser_is_the_bar() -> None:
    setting = replace(SHARDS, partition="dirichlet-1.0")
    found = {
        OURS: comparison(),
        RELAYED: comparison(cost=0.5),
        SAME: comparison(),
        "oort + momentum": comparison(final=0.98),
    }
    ours, relayed, cost = verdicts(setting, found, found)
    assert not ours.held
    assert "-0.0100 ± 0.0000 against oort + momentum" in ours.bar
    assert (relayed.held, cost.held) == (False, False)
    assert [*verdicts(replace(setting, clients=7), found, found)] == []
