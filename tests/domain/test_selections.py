"""What strategies are told of past rounds, and what a training asks of the next one."""

import pytest

from app.domain.rounds import Participation
from app.domain.selections import (
    PastSelection,
    history,
    newest_examples,
    newest_losses,
    past_selection,
    selection_policy,
)
from app.domain.trainings import RoundPolicy, SelectionConfig, TrainingConfig
from tcsfeel.selection.types import History, SelectionPolicy, Weights
from tests.store.samples import a_round, client


def test_a_past_round_has_what_clients_reported_with_updates_that_were_received() -> None:
    parts = (
        Participation(client_id="a", status="received", loss=0.5, num_examples=7),
        Participation(client_id="b", status="received"),
        Participation(client_id="c", status="rejected", loss=9.0, num_examples=99),
    )
    assert past_selection(a_round(started_at=10.0, participations=parts)) == PastSelection(
        10.0, frozenset("abc"), frozenset("ab"), losses={"a": 0.5}, examples={"a": 7}
    )


def test_a_client_has_missed_every_round_that_began_before_it_registered() -> None:
    past = [
        PastSelection(started_at, frozenset(selected), frozenset())
        for started_at, selected in ((10.0, "a"), (20.0, "ab"), (30.0, "c"))
    ]
    clients = [client("a", created_at=5.0), client("b", created_at=20.0), client("c", created_at=99.0)]
    assert history(past, clients) == History((frozenset("a"), frozenset("ab"), frozenset("c")), {"b": 1, "c": 3})
    assert history([], clients) == History()


def test_the_newest_loss_of_each_client_counts() -> None:
    past = [
        PastSelection(started_at, frozenset(losses), frozenset(losses), losses)
        for started_at, losses in ((10.0, {"a": 1.0, "b": 2.0}), (20.0, {"c": 4.0}), (30.0, {"a": 3.0}))
    ]
    assert newest_losses(past) == {"a": 3.0, "b": 2.0, "c": 4.0}
    assert newest_losses([]) == {}


def test_the_newest_examples_of_each_client_count() -> None:
    past = [
        PastSelection(started_at, frozenset(examples), frozenset(examples), examples=examples)
        for started_at, examples in ((10.0, {"a": 9, "b": 10**15}), (20.0, {"c": 4}), (30.0, {"a": 1}))
    ]
    assert newest_examples(past) == {"a": 1, "b": 10**15, "c": 4}
    assert newest_examples([]) == {}


@pytest.mark.parametrize(
    ("factor", "fewest", "most"), [(1.0, 10, 30), (1.3, 13, 39), (1.05, 11, 32), (2.0, 20, 60)]
)  # 10.5 and 31.5 are rounded up
def test_over_selection_asks_for_more_clients(factor: float, fewest: int, most: int) -> None:
    policy = selection_policy(TrainingConfig(name="t", round_policy=RoundPolicy(over_selection=factor)), 1)
    assert (policy.min_clients, policy.max_clients) == (fewest, most)


def test_a_trainings_policy_is_handed_on() -> None:
    weights = Weights(4.0, 3.0, 2.0, 1.0)
    chosen = SelectionConfig(
        min_clients=1,
        max_clients=2,
        budget_constraint=0.5,
        largest_multiple=3.5,
        weights=weights,
        parameters={"factor": 3.0},
    )
    given = TrainingConfig(name="t", selection=chosen, hyperparameters={"local_epochs": 5})
    assert selection_policy(given, 123) == SelectionPolicy(
        min_clients=1,
        max_clients=2,
        budget_constraint=0.5,
        largest_multiple=3.5,
        weights=weights,
        model_bytes=123,
        local_epochs=5,
        parameters={"factor": 3.0},
    )


def test_a_model_that_is_not_known_yet_is_taken_for_a_megabyte() -> None:
    assert selection_policy(TrainingConfig(name="t"), None).model_bytes == 1_000_000


@pytest.mark.parametrize(("value", "epochs"), [(5, 5), (0, 1), (0.5, 1), (-3, 1), ("7", 1), (None, 1)])
def test_local_epochs_are_at_least_one(value: float | str | None, epochs: int) -> None:
    config = TrainingConfig(name="t", hyperparameters={"local_epochs": value})
    assert selection_policy(config, 1).local_epochs == epochs
