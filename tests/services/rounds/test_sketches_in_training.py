"""Sketches of updates over the rounds of a training: what they tell of labels, and how soon clients are known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits

from app.demo import mlp
from tcsfeel.selection import SelectionPolicy, select
from tcsfeel.selection.sketches import SIZE, averaged, sketch, skew_of_sketches
from tcsfeel.selection.types import Candidate, History
from tests.tcsfeel.worlds import NO_LINKS, PLAIN, candidates, pool

Floats = npt.NDArray[np.float64]


PAIRS = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]


def digits_updates(rng: np.random.Generator) -> list[tuple[float, ...]]:
    """The mean sketches of two clients for each of `PAIRS` after five rounds, each with 60 digits of its two."""
    digits = load_digits()
    inputs, labels = (digits.data / 16).astype(np.float32), digits.target.astype(np.intp)
    rows = [
        half for pair in PAIRS for half in np.split(rng.permutation(np.flatnonzero(np.isin(labels, pair)))[:120], 2)
    ]
    model = mlp.initial(rng)
    means: list[tuple[float, ...]] = [(0.0,) * SIZE for _ in rows]
    for number in range(5):
        updates = [mlp.train(model, inputs[own], labels[own], epochs=1, rate=0.1, batch=10, rng=rng) for own in rows]
        for client, update in enumerate(updates):
            found = sketch(model, update)
            assert found is not None
            means[client] = averaged(means[client], number, found)
        model = {name: np.mean([update[name] for update in updates], axis=0) for name in model}
    return means


def test_clients_with_like_labels_get_like_sketches_in_a_real_training() -> None:
    for seed in range(3):
        sketches = digits_updates(np.random.default_rng(seed))
        skew = skew_of_sketches(sketches, np.ones(len(sketches)), None)
        directions = skew / np.linalg.norm(skew, axis=1, keepdims=True)
        alike = directions @ directions.T - 2 * np.eye(len(skew))
        assert alike.argmax(axis=1).tolist() == [row ^ 1 for row in range(len(skew))], "a twin is the nearest of all"
        assert alike.max(axis=1).min() > 0.8


def test_sketches_of_a_real_training_make_balanced_sets() -> None:
    made = [
        replace(PLAIN, client_id=f"{row:02}", sketch=one)
        for row, one in enumerate(digits_updates(np.random.default_rng(0)))
    ]
    policy = SelectionPolicy(min_clients=5, max_clients=5)
    chosen = select("tcs-feel", made, NO_LINKS, History(), policy, np.random.default_rng(0)).client_ids
    assert sorted(int(client_id) // 2 for client_id in chosen) == [0, 1, 2, 3, 4], "one of each pair of twins"


def explored(clients: Sequence[Candidate], *, rounds: int, per_round: int, sketches: Mapping[str, Floats]) -> History:
    """Rounds in which a client's sketch is known as soon as it has taken part."""
    past: list[frozenset[str]] = []
    policy = SelectionPolicy(min_clients=per_round, max_clients=per_round)
    for number in range(rounds):
        seen = frozenset[str]().union(*past)
        known = [
            replace(client, sketch=tuple(sketches[client.client_id]))
            if client.client_id in seen and client.data_distribution is None
            else client
            for client in clients
        ]
        rng = np.random.default_rng([number, 7])
        past.append(frozenset(select("tcs-feel", known, NO_LINKS, History(tuple(past)), policy, rng).client_ids))
    return History(tuple(past))


@pytest.mark.parametrize("dearest", [4.0, 12.0])
@pytest.mark.parametrize("reporting", [0, 12, 24])
def test_unknown_clients_are_explored_soon_whatever_their_links_cost(reporting: int, dearest: float) -> None:
    # 30 clients of 5 kinds, 5 a round: it takes N / K = 6 rounds until everybody could have had a turn
    rng = np.random.default_rng(3)
    kinds = [kind / np.linalg.norm(kind) for kind in rng.normal(size=(5, SIZE))]
    clients = [
        replace(
            PLAIN,
            client_id=f"{row:02}",
            data_distribution=np.eye(5)[row % 5].tolist() if row < reporting else None,
            bandwidth=float(rng.uniform(50 / dearest, 50)),
        )
        for row in range(30)
    ]
    sketches = {client.client_id: kinds[row % 5] + rng.normal(size=SIZE) / 50 for row, client in enumerate(clients)}
    unknown = {client.client_id for client in clients if client.data_distribution is None}
    history = explored(clients, rounds=12, per_round=5, sketches=sketches)
    missing = [len(unknown.difference(*history.rounds[:rounds])) for rounds in range(1, 13)]
    assert missing[5] <= 4, "most of them within N / K rounds"
    assert missing[11] == 0, "all of them within twice as many"


def test_only_who_is_overdue_and_unknown_among_known_ones_is_more_urgent() -> None:
    # each of the four earns 1/4 a round; b alone took part, in the one round
    past = History((frozenset({"b"}),))
    some = tuple(np.eye(SIZE)[0])
    made = pool(
        candidates(4, data_distribution=[[1, 0], None, None, None], sketch=[None, None, None, some]), history=past
    )
    assert made.debt.tolist() == [0.25, -0.75, 0.25, 0.25]
    assert made.urgency.tolist() == [0.25, -0.75, 0.25 + 8 / 16, 0.25]
    nobody = pool(candidates(4), history=past)
    assert nobody.urgency.tolist() == nobody.debt.tolist()
