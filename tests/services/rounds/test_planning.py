"""Who may be selected, and the selection over them."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.domain.breaker import Breaker
from app.domain.clients import Client, Measured
from app.domain.eligibility import Where
from app.domain.failures import Failure
from app.domain.rounds import Participation
from app.metrics import Metrics
from app.services.fleet.connectivity import LatestConnectivity
from app.services.fleet.roster import LatestRoster
from app.services.rounds.fleets import Fleet
from app.services.rounds.planning import Planner, StrategyOverdue
from app.store.database import Database
from tcsfeel.errors import BudgetTooSmall, NotEnoughClients, UnknownStrategy
from tcsfeel.network.connectivity import Connectivity, Edge
from tcsfeel.selection.columns import Columns
from tcsfeel.selection.types import History, SelectionPolicy, Skipped
from tests.clocks import FakeClock
from tests.services.fakes import metrics
from tests.store.samples import a_round, client, training

NOW = 1_000_000.0
SEEN = "the server last heard from it at 2023-11-14 22:13:20 UTC"
OPEN = Breaker(state="open", retry_at=NOW + 1, last_failure_at=NOW - 29)
ONE = SelectionPolicy(min_clients=1, max_clients=1)


@pytest.fixture
def planner() -> Planner:
    return Planner(LatestRoster(), LatestConnectivity(), FakeClock(NOW), metrics())


async def fleet(db: Database, planner: Planner, clients: Sequence[Client] = (), **query: Any) -> Fleet:
    async with db.begin() as tx:
        await tx.clients.add(clients)
    async with db.read() as tx:
        return await planner.fleet(tx, **query)


def offered(value: Fleet) -> list[str]:
    return [one.id for one in value.offered]


async def test_an_empty_fleet_offers_nobody(db: Database, planner: Planner) -> None:
    found = await fleet(db, planner)
    assert (found.clients, found.offered, found.shut_out, found.forced) == ((), (), (), frozenset())
    assert found.connectivity.version == 0


async def test_who_is_shut_out_and_why(db: Database, planner: Planner) -> None:
    clients = [
        client("busy"),
        client("down", status="down"),
        client("excluded"),
        client("fine"),
        client("isolated", breaker=Breaker().isolate(NOW)),
        client("open", breaker=OPEN),
        client("probed", breaker=Breaker(state="half_open", probe_until=NOW + 1)),
        client("suspect", status="suspect"),
        client("waited", breaker=Breaker(state="open", retry_at=NOW)),
    ]
    async with db.begin() as tx:
        await tx.trainings.add(training("other"))
        round_ = a_round("other", participations=(Participation(client_id="busy", status="training"),))
        await tx.rounds.add(round_)
        await tx.rounds.add_participations(round_)
    found = await fleet(db, planner, clients, exclude={"excluded"}, training_id="t")
    assert list(found.clients) == clients
    assert offered(found) == ["fine", "waited"]
    assert found.forced == frozenset()  # 3 of 9 are shut out by breakers, 4 may be
    assert found.shut_out == (
        Skipped("busy", "it has a task in flight for another training"),
        Skipped("down", f"its status is down: {SEEN}"),
        Skipped("excluded", "the request excludes it"),
        Skipped("isolated", "its breaker is open: isolated by hand since 1970-01-12 13:46:40 UTC"),
        Skipped("open", "its breaker is open"),
        Skipped("probed", "its breaker is half_open"),
        Skipped("suspect", f"its status is suspect: {SEEN}"),
    )
    own = await fleet(db, planner, exclude={"excluded"}, training_id="other")
    assert offered(own) == ["busy", "fine", "waited"]


async def test_a_client_with_several_faults_is_given_one_reason(db: Database, planner: Planner) -> None:
    found = await fleet(db, planner, [client("a", status="down", breaker=Breaker().isolate(NOW))], exclude=["a"])
    assert found.shut_out == (Skipped("a", "the request excludes it"),)
    assert (await fleet(db, planner)).shut_out == (Skipped("a", f"its status is down: {SEEN}"),)


async def test_breakers_keep_out_half_of_the_fleet_and_no_more(db: Database, planner: Planner) -> None:
    clients = [client(name, breaker=Breaker(state="open", retry_at=NOW + 9, last_failure_at=at)) for name, at in
               (("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 4.0))]  # fmt: skip
    found = await fleet(db, planner, [*clients, client("e")])
    assert found.forced == {"b", "c"}  # 2 of 5 may be shut out, so 2 of 4 are let through: the least recently failed
    assert offered(found) == ["b", "c", "e"]
    assert [skipped.client_id for skipped in found.shut_out] == ["a", "d"]


async def test_the_newest_matrix_is_taken_and_loaded_once(db: Database, planner: Planner) -> None:
    async with db.begin() as tx:
        await tx.connectivity.add(Connectivity.from_edges(["a", "b"], [Edge("a", "b", 0.5)]), NOW)
    first = await fleet(db, planner)
    assert (first.connectivity.version, first.connectivity.neighbours("a")) == (1, {"b": 0.5})
    assert (await fleet(db, planner)).connectivity is first.connectivity
    async with db.begin() as tx:
        await tx.connectivity.add(Connectivity.empty(["a"]), NOW)
    assert (await fleet(db, planner)).connectivity.version == 2


async def test_all_clients_count_that_may_be_selected_sooner_or_later(sqlite: Database, planner: Planner) -> None:
    greedy = replace(client().profile, data_size=10**12)
    clients = [
        client("a"),
        client("b", breaker=OPEN),
        client("c", status="down", profile=greedy),
        client("isolated", breaker=Breaker().isolate(NOW)),
        client("other"),
    ]
    found = await fleet(sqlite, planner, clients, where=Where(exclude=("other",)))
    assert found.population == 3


async def test_too_few_clients_are_named_with_their_reasons(db: Database, planner: Planner) -> None:
    failed = Failure(phase="evaluate", training_id="t", round=2, reason="the agent answered 500: no data")
    since, until = NOW - 30, NOW + 30
    shut = Breaker(state="open", opened_at=since, retry_at=until, consecutive_failures=3, last_failures=(failed,))
    found = await fleet(db, planner, [client("a"), client("b"), client("c", breaker=shut), client("d", status="down")])
    with pytest.raises(NotEnoughClients) as caught:
        await planner.select(found, "random", History(), SelectionPolicy(min_clients=3, max_clients=3), 1)
    assert str(caught.value) == (
        "2 of 4 clients can be selected (healthy, admitted by their breaker, and free), but min_clients is 3;"
        " c: its breaker is open: since 1970-01-12 13:46:10 UTC, after 3 failures in a row"
        f" (the last in evaluate, faulty; the client's breaker lists the reasons); d: its status is down: {SEEN}"
    )
    assert caught.value.out == tuple((out.client_id, out.reason) for out in found.shut_out)


async def test_a_selection_names_every_client_once(sqlite: Database, planner: Planner) -> None:
    clients = [client("a"), client("b"), client("c", status="down"), client("d")]
    found = await fleet(sqlite, planner, clients)
    selection = await planner.select(found, "tcs-feel", History(), SelectionPolicy(min_clients=2, max_clients=2), 7)
    assert len(selection.selected) == 2
    assert Skipped("c", f"its status is down: {SEEN}") in selection.skipped
    everybody = [*selection.client_ids, *(skipped.client_id for skipped in selection.skipped)]
    assert sorted(everybody) == ["a", "b", "c", "d"]


async def test_the_same_seed_and_state_give_the_same_selection(sqlite: Database, planner: Planner) -> None:
    rng = random.Random(5)  # noqa: S311  (test data)
    clients = [client(f"c{n:02}", measured=Measured(bandwidth=rng.uniform(1, 9))) for n in range(30)]
    found = await fleet(sqlite, planner, clients)
    policy = SelectionPolicy(min_clients=5, max_clients=5)
    drawn = [await planner.select(found, "random", History(), policy, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert set(drawn[0].client_ids) != set(drawn[2].client_ids)


async def test_clients_without_labels_are_known_by_their_sketches_in_this_training(
    sqlite: Database, planner: Planner
) -> None:
    one, other = (1.0, *[0.0] * 31), (0.0, 1.0, *[0.0] * 30)
    async with sqlite.begin() as tx:
        for training_id in ("t", "fresh"):
            await tx.trainings.add(training(training_id))
        for client_id, sketch in {"a": one, "b": one, "c": other, "d": other}.items():
            await tx.sketches.fold("t", {client_id: sketch})
    known = await fleet(sqlite, planner, [client(name) for name in "abcd"], training_id="t")
    fresh = await fleet(sqlite, planner, training_id="fresh")
    policy = SelectionPolicy(min_clients=2, max_clients=2)

    async def pairs(value: Fleet) -> set[frozenset[str]]:
        drawn = [await planner.select(value, "tcs-feel", History(), policy, seed) for seed in range(5)]
        return {frozenset(selection.client_ids) for selection in drawn}

    assert {frozenset("ac"), frozenset("ad"), frozenset("bc"), frozenset("bd")} >= await pairs(known)
    assert known.sketches.keys() == set("abcd")
    assert fresh.sketches == (await fleet(sqlite, planner)).sketches == {}


async def test_selections_are_timed(sqlite: Database) -> None:
    counts = metrics()
    planner = Planner(LatestRoster(), LatestConnectivity(), FakeClock(NOW), counts)
    found = await fleet(sqlite, planner, [client("a")])
    await planner.select(found, "random", History(), ONE, 1)
    assert counts.registry.get_sample_value("federated_selection_duration_seconds_count") == 1
    assert exemplars(counts) == []


async def test_the_time_of_a_rounds_selection_leads_to_its_trace(sqlite: Database) -> None:
    counts = metrics()
    counts.exemplar_of = lambda training_id, number: {"trace_id": f"{training_id} {number}"}
    planner = Planner(LatestRoster(), LatestConnectivity(), FakeClock(NOW), counts)
    found = await fleet(sqlite, planner, [client("a")])
    await planner.select(found, "random", History(), ONE, 1, training_id="t", number=7)
    assert exemplars(counts) == [{"trace_id": "t 7"}]


def exemplars(counts: Metrics) -> list[dict[str, str]]:
    return [one.exemplar.labels for one in next(iter(counts.selection_duration.collect())).samples if one.exemplar]


async def test_a_selection_that_cannot_be_says_why(sqlite: Database, planner: Planner) -> None:
    found = await fleet(sqlite, planner, [client("a"), client("b", status="down")])
    with pytest.raises(NotEnoughClients) as short:
        await planner.select(found, "random", History(), SelectionPolicy(min_clients=2, max_clients=2), 1)
    assert (short.value.available, short.value.required, short.value.known) == (1, 2, 2)  # known: those down as well
    tight = SelectionPolicy(min_clients=1, max_clients=1, budget_constraint=1e-6)
    with pytest.raises(BudgetTooSmall):
        await planner.select(found, "random", History(), tight, 1)
    with pytest.raises(UnknownStrategy):
        await planner.select(found, "best", History(), ONE, 1)


async def test_a_strategy_for_which_no_time_is_left_is_not_begun(sqlite: Database, planner: Planner) -> None:
    found = await fleet(sqlite, planner, [client("a")])
    reason = "the strategy 'random' was not started: the round had no time left for it"
    with pytest.raises(StrategyOverdue, match=reason):
        await planner.select(found, "random", History(), ONE, 1, patience=0.0)


async def test_strategies_see_the_losses(sqlite: Database, planner: Planner) -> None:
    found = await fleet(sqlite, planner, [client("a"), client("b"), client("c")])

    async def chosen(**losses: float) -> set[tuple[str, ...]]:
        policy = replace(ONE, parameters={"factor": 3})
        plans = [
            await planner.select(found, "power-of-choice", History(), policy, seed, losses=losses) for seed in range(20)
        ]
        return {plan.client_ids for plan in plans}

    assert await chosen() == {("a",), ("b",), ("c",)}
    assert await chosen(a=1.0, b=0.0, c=2.0) == {("c",)}
    assert await chosen(a=1.0, c=2.0, gone=3.0) == {("b",)}  # it has not reported one


async def test_a_candidate_has_the_loss_the_examples_and_the_sketch_of_its_own_client(
    db: Database, planner: Planner
) -> None:
    sketch = (1.0, *[0.0] * 31)
    async with db.begin() as tx:
        await tx.trainings.add(training("t"))
        await tx.sketches.fold("t", {"a": sketch})
    found = await fleet(db, planner, [client("a"), client("b"), client("c", status="down")], training_id="t")
    a, b = offered_now = found.candidates({"b": 0.5, "c": 2.0}, {"a": 3, "c": 4})
    assert offered_now.columns.data_size.tolist() == [3.0, 10.0], "the numbers are those of the candidates"
    assert str(offered_now.columns) == str(Columns.of(offered_now))
    assert (a.client_id, a.sketch, a.loss) == ("a", sketch, None)
    assert (b.client_id, b.sketch, b.loss) == ("b", None, 0.5)
    assert (a.data_size, b.data_size, b.bandwidth) == (3, 10, 8.0)


async def test_evaluators_are_drawn_from_the_clients_that_can_measure(db: Database, planner: Planner) -> None:
    where = {"site": "north"}
    clients = [client(name, profile=replace(client(name).profile, tags=where)) for name in "abcdef"]
    clients[1] = replace(clients[1], status="down")
    clients[2] = replace(clients[2], breaker=OPEN)
    clients[3] = replace(clients[3], profile=client("d").profile)  # of another site
    clients[4] = clients[4].without_held_out_data(clients[4].updated_at)
    await fleet(db, planner, clients)

    async def chosen(wanted: int, seed: int, tags: dict[str, str]) -> list[str]:
        config = replace(training().config, evaluation_clients=wanted, evaluation_tags=tags)
        async with db.read() as tx:
            found, _ = await planner.evaluators(tx, training("t", config=config), seed)
            return [one.id for one in found]

    assert await chosen(9, 1, where) == ["a", "f"]
    assert await chosen(9, 1, {}) == ["a", "d", "f"]
    assert await chosen(0, 1, {}) == []
    drawn = [await chosen(1, seed, {}) for seed in range(20)]
    assert {len(names) for names in drawn} == {1}
    assert {names[0] for names in drawn} == {"a", "d", "f"}
    assert drawn == [await chosen(1, seed, {}) for seed in range(20)], "the same seed draws the same clients"
