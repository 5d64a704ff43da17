"""Planning a round over HTTP."""

from dataclasses import replace
from typing import Any

import pytest

from tcsfeel.selection import strategies
from tests.api import Api, assert_problem
from tests.plugins import PLUGIN, strategy

IDS = [f"edge-{number}" for number in range(6)]


@pytest.fixture
async def fleet(api: Api) -> Api:
    await api.register(*IDS)
    return api


async def plan(api: Api, **fields: Any) -> dict[str, Any]:
    response = await api.http.post("/v1/selections", json={"min_clients": 2, "max_clients": 3} | fields)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_a_plan_says_who_is_in_it_who_is_not_and_what_it_costs(fleet: Api) -> None:
    before = await fleet.stored()
    body = await plan(fleet, exclude=["edge-5"])
    assert body.keys() == {
        "strategy",
        "selected",
        "skipped",
        "total_cost",
        "label_divergence",
        "fairness",
        "expected_seconds",
        "plan",
        "connectivity_version",
        "seed",
        "duration_ms",
        "comparison",
    }
    selected = [chosen["client_id"] for chosen in body["selected"]]
    assert 2 <= len(selected) <= 3
    assert all(c.keys() == {"client_id", "score", "components", "marginal_cost"} for c in body["selected"])
    skipped = {skip["client_id"]: skip["reason"] for skip in body["skipped"]}
    assert {*selected, *skipped} == set(IDS)
    assert skipped["edge-5"] == "the request excludes it"
    assert body["plan"] == {"topology": "star", "parents": dict.fromkeys(selected)}
    assert (body["strategy"], body["seed"], body["connectivity_version"]) == ("tcs-feel", 0, 0)
    assert body["label_divergence"] is None
    assert body["comparison"] == []
    assert body["total_cost"] == pytest.approx(sum(chosen["marginal_cost"] for chosen in body["selected"]))
    assert await fleet.stored() == before


@pytest.mark.parametrize("strategy", sorted(strategies()))
async def test_the_same_seed_and_state_give_the_same_plan(sqlite_api: Api, strategy: str) -> None:
    await sqlite_api.register(*IDS)

    async def chosen(**fields: Any) -> dict[str, Any]:
        body = await plan(sqlite_api, strategy=strategy, **fields)
        del body["duration_ms"]
        return body

    assert await chosen(seed=7, round_number=2) == await chosen(seed=7, round_number=2)


async def test_strategies_are_planned_side_by_side(fleet: Api) -> None:
    names = sorted(strategies())
    body = await plan(fleet, strategy="tcs-feel", compare=names, seed=3)
    assert [other["strategy"] for other in body["comparison"]] == names
    for other in body["comparison"]:
        alone = await plan(fleet, strategy=other["strategy"], seed=3)
        chosen = [one["client_id"] for one in alone["selected"]]
        assert other["client_ids"] == chosen
        assert other["in_common"] == len({*chosen} & {one["client_id"] for one in body["selected"]})
        figures = ("total_cost", "label_divergence", "fairness", "expected_seconds")
        assert {name: other[name] for name in figures} == {name: alone[name] for name in figures}
        assert other["duration_ms"] >= 0
    problem = await fleet.http.post("/v1/selections", json={"compare": ["random", "best"]})
    assert_problem(problem, 422, "/compare/1")


async def test_updates_may_travel_over_cheap_links(fleet: Api) -> None:
    edges = [{"source": "edge-0", "target": other, "cost": 0.001} for other in IDS[1:]]
    assert (await fleet.http.put("/v1/connectivity", json={"edges": edges})).status_code == 200
    star = await plan(fleet, min_clients=6, max_clients=6)
    relay = await plan(fleet, min_clients=6, max_clients=6, topology="relay")
    assert set(star["plan"]["parents"].values()) == {None}
    assert relay["plan"]["topology"] == "relay"
    assert relay["plan"]["parents"] == dict.fromkeys(IDS[1:], "edge-0") | {"edge-0": None}
    assert relay["total_cost"] < star["total_cost"]
    assert relay["total_cost"] == pytest.approx(sum(one["marginal_cost"] for one in relay["selected"]))


async def test_another_seed_or_round_may_give_another_plan(sqlite_api: Api) -> None:
    await sqlite_api.register(*IDS)
    plans = [await plan(sqlite_api, strategy="random", seed=seed, round_number=n) for seed in (1, 2, 3) for n in (1, 2)]
    assert len({tuple(chosen["client_id"] for chosen in body["selected"]) for body in plans}) > 1


async def test_clients_that_cannot_take_part_are_skipped_with_the_reason(fleet: Api) -> None:
    await fleet.http.post("/v1/clients/edge-0/breaker/open")
    async with fleet.system.db.begin() as tx:
        await tx.clients.put(replace(await tx.clients.get("edge-1"), status="down"))
    skipped = {skip["client_id"]: skip["reason"] for skip in (await plan(fleet))["skipped"]}
    assert skipped["edge-0"].startswith("its breaker is open: isolated by hand since 1970-01-12 13:46:40 UTC")
    assert skipped["edge-1"].startswith("its status is down: the server last heard from it at ")


async def test_too_few_clients_answer_409_with_the_counts(fleet: Api) -> None:
    response = await fleet.http.post("/v1/selections", json={"min_clients": 7, "max_clients": 9})
    body = assert_problem(response, 409)
    assert body["type"] == "urn:tcsfeel:problem:selection-infeasible"
    assert "6 of 6 clients" in body["detail"]


async def test_a_budget_that_is_too_small_answers_409_with_the_cost(fleet: Api) -> None:
    body = {"min_clients": 2, "max_clients": 3, "budget_constraint": 1e-6}
    problem = assert_problem(await fleet.http.post("/v1/selections", json=body), 409)
    assert "budget_constraint" in problem["detail"]


async def test_the_budget_bounds_the_total_cost(fleet: Api) -> None:
    each = 2 * (8 / 40 * 1 + 0.025)  # one MB down and up at 40 Mbps, 25 ms a transfer
    assert (await plan(fleet, min_clients=6, max_clients=6))["total_cost"] == pytest.approx(6 * each)
    bounded = await plan(fleet, min_clients=1, max_clients=6, budget_constraint=2.5 * each)
    assert bounded["total_cost"] <= 2.5 * each
    larger = await plan(fleet, min_clients=1, max_clients=1, model_bytes=4_000_000)
    assert larger["total_cost"] == pytest.approx(2 * (8 / 40 * 4 + 0.025))


async def test_parameters_reach_the_strategy(sqlite_api: Api) -> None:
    await sqlite_api.register(*IDS)
    all_but_one = {"strategy": "fedcs", "min_clients": 1, "max_clients": 6}
    assert len((await plan(sqlite_api, **all_but_one))["selected"]) == 6
    late = await plan(sqlite_api, **all_but_one, parameters={"deadline_seconds": 0})
    assert len(late["selected"]) == 1


async def test_a_parameter_that_cannot_be_is_refused_with_what_it_may_be(sqlite_api: Api) -> None:
    async def detail(strategy: str, **parameters: float) -> str:
        body = {"strategy": strategy, "parameters": parameters}
        pointers = [f"/parameters/{name}" for name in parameters]
        problem = assert_problem(await sqlite_api.http.post("/v1/selections", json=body), 422, *pointers)
        return str(problem["errors"][0]["detail"])

    assert await detail("power-of-choice", factor=0.5) == "should be from 1 to 1000, is 0.5"
    listed = "is no parameter of the strategy, whose parameters are pool_factor, deadline_seconds"
    assert await detail("fedcs", factor=2) == listed
    assert await detail("random", factor=2) == "is no parameter of the strategy, which has none"


async def test_a_strategy_that_is_not_known_is_refused_with_those_that_are(sqlite_api: Api) -> None:
    problem = assert_problem(await sqlite_api.http.post("/v1/selections", json={"strategy": "best"}), 422, "/strategy")
    assert all(name in problem["detail"] for name in strategies())


async def test_a_strategy_of_another_package_that_fails_is_named(sqlite_api: Api) -> None:
    def failing(*_: Any) -> Any:
        raise KeyError("y")

    await sqlite_api.register(*IDS)
    body = {"min_clients": 2, "max_clients": 3, "strategy": PLUGIN}
    with strategy(failing):
        response = await sqlite_api.http.post("/v1/selections", json=body)
        assert assert_problem(response, 409)["detail"] == "the strategy 'theirs' failed: KeyError: 'y'"
        compared = await sqlite_api.http.post("/v1/selections", json=body | {"strategy": "random", "compare": [PLUGIN]})
        assert assert_problem(compared, 409)["type"] == "urn:tcsfeel:problem:strategy-failed"
