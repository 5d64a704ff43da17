"""Candidates for tests: by hand with plain defaults, and arbitrary ones."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.selection.objective import Objective
from tcsfeel.selection.pool import Pool
from tcsfeel.selection.sketches import SIZE
from tcsfeel.selection.types import Candidate, DataDistribution, History, SelectionPolicy

NAMES = tuple("abcdefghij")
NO_LINKS = Connectivity.empty()
BEGINNING = History()

PLAIN = Candidate(
    client_id="a",
    data_size=100,
    data_distribution=None,
    compute_capacity=1.0,
    bandwidth=8.0,  # 1 s for a megabyte
    latency=0.0,
    reliability=1.0,
)


def candidates(count: int, **columns: Sequence[object]) -> list[Candidate]:
    """The first `count` names, each with its value of every column and `PLAIN`'s of every other field."""
    rows = [{name: values[row] for name, values in columns.items()} for row in range(count)]
    return [replace(PLAIN, client_id=NAMES[row], **values) for row, values in enumerate(rows)]  # type: ignore[arg-type]  # columns are fields


def pool(
    chosen: Sequence[Candidate],
    policy: SelectionPolicy | None = None,
    links: Connectivity = NO_LINKS,
    history: History = BEGINNING,
) -> Pool:
    return Pool.of(chosen, links, history, policy or SelectionPolicy(min_clients=1, max_clients=len(chosen)))


def objective(
    chosen: Sequence[Candidate],
    policy: SelectionPolicy | None = None,
    debt: npt.ArrayLike | None = None,
    links: Connectivity = NO_LINKS,
) -> Objective:
    """F over candidates, with any debts."""
    made = pool(chosen, policy, links)
    made.__dict__["debt"] = np.zeros(len(chosen)) if debt is None else np.asarray(debt, dtype=float)
    return Objective(made)


def skewed(count: int, seed: int) -> list[Candidate]:
    """Random clients with two of ten labels each, costs of 0.1 to 1 s a megabyte."""
    rng = np.random.default_rng(seed)
    return [
        replace(
            PLAIN,
            client_id=f"c{row}",
            data_size=int(rng.integers(50, 1000)),
            data_distribution=rng.dirichlet([0.1] * 10).tolist(),
            compute_capacity=float(rng.uniform(1, 10)),
            bandwidth=float(rng.uniform(8, 80)),
            latency=float(rng.uniform(10, 200)),
            reliability=float(rng.uniform(0.7, 1)),
        )
        for row in range(count)
    ]


# Everything that the API lets through, and the ends of it.
MAGNITUDES = st.sampled_from([1e-300, 1e-9, 0.5, 1.0, 10.0, 1e9, 1e300]) | st.floats(0.1, 100)
SHARES = st.sampled_from([0.0, 1e-300, 0.5, 1.0, 3.0, 1e300])
DISTRIBUTIONS: st.SearchStrategy[DataDistribution | None] = (
    st.none()
    | st.lists(SHARES, min_size=1, max_size=4).filter(any)
    | st.dictionaries(st.sampled_from(["0", "1", "cat"]), SHARES, min_size=1).filter(lambda row: any(row.values()))
)


SKETCHES = st.lists(st.sampled_from([-1.0, 0.0, 0.5]), min_size=SIZE, max_size=SIZE).map(tuple)


@st.composite
def any_candidates(draw: st.DrawFn, most: int = 8) -> list[Candidate]:
    count = draw(st.integers(1, most))
    fields = {
        "data_size": st.sampled_from([1, 2, 100, 10**18]),
        "data_distribution": DISTRIBUTIONS,
        "compute_capacity": MAGNITUDES,
        "bandwidth": MAGNITUDES,
        "latency": st.just(0.0) | MAGNITUDES,
        "reliability": st.sampled_from([0.0, 1e-9, 0.5, 1.0]),
        "server_cost": st.none() | st.just(0.0) | MAGNITUDES,
        "train_seconds": st.none() | st.just(0.0) | MAGNITUDES,
        "update_quality": st.none() | st.floats(0, 1),
        "loss": st.none() | st.sampled_from([-1.0, 0.0, 1e-300, 0.5, 2.0, 1e300]),
        "sketch": st.none() | SKETCHES,
    }
    columns = {name: draw(st.lists(values, min_size=count, max_size=count)) for name, values in fields.items()}
    return candidates(count, **columns)


@st.composite
def any_connectivity(draw: st.DrawFn) -> Connectivity:
    pairs = [(source, target) for target in NAMES for source in NAMES if source < target]
    cells = draw(st.dictionaries(st.sampled_from(pairs), st.sampled_from([0.0, 2.0**-100, 1.0, 2.0, 2.0**100])))
    return Connectivity.from_edges(NAMES, [Edge(*pair, cost) for pair, cost in cells.items()])


@st.composite
def any_history(draw: st.DrawFn) -> History:
    rounds = draw(st.lists(st.frozensets(st.sampled_from([*NAMES, "gone"])), max_size=5))
    joined = draw(st.dictionaries(st.sampled_from(NAMES), st.integers(0, len(rounds))))
    return History(tuple(rounds), joined)
