"""The methods of gRPC beside the operations of REST that they stand for, on both databases."""

import math
from typing import Any

import grpc
import pytest

from app.rpc.operations import MOST_BYTES
from tests.api import KEY, Api
from tests.planes import until
from tests.rpc.callers import BEARER, call, refused, serving

Code = grpc.StatusCode
LINKS = {"edges": [{"source": "edge-0", "target": "edge-1", "cost": 0.1}]}


async def fleet(api: Api, count: int = 12) -> None:
    for number in range(count):
        labels = [10.0] * 5
        labels[number % 5] += 100.0 * number
        await api.register(f"edge-{number}", data_distribution=labels, bandwidth=5.0 + 7 * number)
    assert (await api.http.put("/v1/connectivity", json=LINKS)).is_success


async def issued(api: Api, role: str, **fields: Any) -> tuple[tuple[str, str], ...]:
    response = await api.http.post("/v1/keys", json={"name": f"a {role}", "role": role} | fields)
    return (("authorization", f"Bearer {response.json()['key']}"),)


@pytest.mark.parametrize("strategy", ["tcs-feel", "random", "oort"])
async def test_it_selects_as_rest_does_for_the_same_seed(api: Api, channel: grpc.aio.Channel, strategy: str) -> None:
    await fleet(api)
    chosen = set()
    for seed in range(5):
        asked: dict[str, Any] = {
            "strategy": strategy,
            "min_clients": 3,
            "max_clients": 5,
            "seed": seed,
            "round_number": 4,
        }
        rest = (await api.http.post("/v1/selections", json=asked | {"exclude": ["edge-2"]})).json()
        found = await call(channel, "OptimizeTopology", exclude=["edge-2"], **asked)
        assert [one.client_id for one in found.selected] == [one["client_id"] for one in rest["selected"]]
        assert [one.score for one in found.selected] == [one["score"] for one in rest["selected"]]
        assert [dict(one.components) for one in found.selected] == [one["components"] for one in rest["selected"]]
        assert (found.total_cost, found.fairness) == (rest["total_cost"], rest["fairness"])
        assert (found.label_divergence, found.expected_seconds) == (rest["label_divergence"], rest["expected_seconds"])
        assert (found.seed, found.connectivity_version, found.strategy) == (seed, 1, strategy)
        assert (found.skipped_count, len(found.skipped)) == (len(rest["skipped"]), 0)
        chosen.add(tuple(one.client_id for one in found.selected))
    assert strategy != "random" or len(chosen) > 1  # so that the seed has a meaning here


async def test_reasons_and_parents_are_those_of_rest(api: Api, channel: grpc.aio.Channel) -> None:
    await fleet(api)
    asked: dict[str, Any] = {"min_clients": 6, "max_clients": 6, "seed": 1, "topology": "relay"}
    rest = (await api.http.post("/v1/selections", json=asked)).json()
    found = await call(channel, "OptimizeTopology", with_skipped=True, **asked)
    assert [(one.client_id, one.reason) for one in found.skipped] == [
        (one["client_id"], one["reason"]) for one in rest["skipped"]
    ]
    parents = {one.client_id: one.parent if one.HasField("parent") else None for one in found.selected}
    assert parents == rest["plan"]["parents"]
    assert found.topology == "relay"


async def test_budgets_weights_and_parameters_arrive(api: Api, channel: grpc.aio.Channel) -> None:
    await fleet(api)
    asked: dict[str, Any] = {"min_clients": 2, "max_clients": 4, "budget_constraint": 2.5, "seed": 3}
    asked |= {"weights": {"communication": 9.0, "fairness": 0.0}, "parameters": {"divergence_target": 0.9}}
    rest = (await api.http.post("/v1/selections", json=asked | {"largest_multiple": None})).json()
    found = await call(channel, "OptimizeTopology", largest_multiple=0.0, **asked)
    assert [one.client_id for one in found.selected] == [one["client_id"] for one in rest["selected"]]
    assert found.total_cost == rest["total_cost"] <= 2.5


async def test_a_performance_is_recorded_as_an_outcome(api: Api, channel: grpc.aio.Channel) -> None:
    await api.register("edge-0")
    found = await call(
        channel, "UpdateClientPerformance", client_id="edge-0", update_quality=0.75, new_reliability=0.5, seconds=20.0
    )
    assert (found.client_id, found.status, found.breaker.state) == ("edge-0", "healthy", "closed")
    assert not found.breaker.HasField("retry_at")
    assert not found.measured.HasField("bandwidth")
    measured = (await api.http.get("/v1/clients/edge-0")).json()["measured"]
    assert (measured["last_update_quality"], measured["reliability"], measured["train_seconds"]) == (0.75, 0.5, 20.0)
    assert found.measured.last_update_quality == 0.75
    failed: dict[str, Any] = {"client_id": "edge-0", "success": False, "kind": "faulty", "reason": "NaN in layer 3"}
    for _ in range(3):
        found = await call(channel, "UpdateClientPerformance", **failed)
    breaker = (await api.http.get("/v1/clients/edge-0/breaker")).json()
    assert (found.breaker.state, found.breaker.cause) == ("open", "3 failures in a row")
    assert found.breaker.retry_at.ToDatetime().isoformat()[:19] == breaker["retry_at"][:19]
    assert breaker["last_failures"][-1]["reason"] == "reported by admin key: NaN in layer 3"
    await api.system.audit.write()
    records = (await api.http.get("/v1/audit?operation=POST /v1/clients/{client_id}/outcomes")).json()["items"]
    assert [record["parameters"] for record in records] == [{"client_id": "edge-0"}] * 4


async def test_statistics_are_those_of_rest(api: Api, channel: grpc.aio.Channel) -> None:
    await fleet(api)
    rest = (await api.http.get("/v1/topology")).json()
    assert rest.pop("measured_links") == []  # only REST has them
    found = await call(channel, "GetTopologyStats", with_betweenness=True)
    named = {field.name: getattr(found, field.name) for field in found.DESCRIPTOR.fields}
    assert named | {"betweenness": dict(found.betweenness)} == rest
    assert dict((await call(channel, "GetTopologyStats")).betweenness) == {}


async def test_callers_need_the_keys_and_roles_of_rest(api: Api, channel: grpc.aio.Channel) -> None:
    await fleet(api, 3)
    stats, report = "GetTopologyStats", "UpdateClientPerformance"
    viewer, agent = await issued(api, "viewer"), await issued(api, "agent", client_id="edge-0")
    assert (await call(channel, stats, metadata=viewer)).num_clients == 3
    for sent in (None, "Bearer wrong", KEY, ""):
        metadata = () if sent is None else (("authorization", sent),)
        code, detail, trailers = await refused(channel, stats, metadata=metadata)
        assert (code, trailers["tcsfeel-problem"]) == (Code.UNAUTHENTICATED, "urn:tcsfeel:problem:unauthenticated")
        assert "wrong" not in detail
    for caller, told in ((viewer, "operator"), (agent, "edge-0")):
        code, detail, _ = await refused(channel, report, metadata=caller, client_id="edge-0")
        assert code == Code.PERMISSION_DENIED
        assert told in detail
    assert (await refused(channel, stats, metadata=agent))[0] == Code.PERMISSION_DENIED
    assert (
        await call(channel, report, metadata=await issued(api, "operator"), client_id="edge-0")
    ).client_id == "edge-0"


async def test_a_proxy_on_this_machine_is_believed_for_whom_it_calls(api: Api, channel: grpc.aio.Channel) -> None:
    await fleet(api, 2)
    forwarded = (("x-forwarded-for", "198.51.100.66"), ("x-forwarded-for", "203.0.113.7"))  # the proxy's is the last
    await call(channel, "UpdateClientPerformance", metadata=(*BEARER, *forwarded), client_id="edge-0")
    async with serving(api, proxies="192.0.2.1") as other:
        await call(other, "UpdateClientPerformance", metadata=(*BEARER, *forwarded), client_id="edge-0")

    async def recorded() -> bool:
        asked = {"operation": "POST /v1/clients/{client_id}/outcomes"}
        items = (await api.http.get("/v1/audit", params=asked)).json()["items"]
        return sorted(one["address"] for one in items) == ["127.0.0.1", "203.0.113.7"]

    await until(recorded)


@pytest.mark.parametrize(
    ("method", "fields", "refusal"),
    [
        ("OptimizeTopology", {"min_clients": 0}, (Code.INVALID_ARGUMENT, "/min_clients")),
        ("OptimizeTopology", {"budget_constraint": math.nan}, (Code.INVALID_ARGUMENT, "/budget_constraint")),
        ("OptimizeTopology", {"budget_constraint": math.inf}, (Code.INVALID_ARGUMENT, "/budget_constraint")),
        ("OptimizeTopology", {"strategy": "none-such"}, (Code.INVALID_ARGUMENT, "/strategy")),
        ("OptimizeTopology", {"seed": 2**63}, (Code.INVALID_ARGUMENT, "/seed")),
        ("OptimizeTopology", {"exclude": ["a b"]}, (Code.INVALID_ARGUMENT, "/exclude/0")),
        ("OptimizeTopology", {"weights": {"compute": -1.0}}, (Code.INVALID_ARGUMENT, "/weights/compute")),
        ("OptimizeTopology", {"min_clients": 50, "max_clients": 60}, (Code.FAILED_PRECONDITION, "50")),
        ("UpdateClientPerformance", {"client_id": "nobody"}, (Code.NOT_FOUND, "nobody")),
        ("UpdateClientPerformance", {}, (Code.INVALID_ARGUMENT, "client_id should be 1 to 64 of")),
        ("UpdateClientPerformance", {"client_id": "edge-0\n"}, (Code.INVALID_ARGUMENT, "client_id")),
        ("UpdateClientPerformance", {"client_id": "edge-0/breaker/open?"}, (Code.INVALID_ARGUMENT, "client_id")),
        ("UpdateClientPerformance", {"client_id": "../keys"}, (Code.INVALID_ARGUMENT, "client_id")),
        ("UpdateClientPerformance", {"client_id": "edge-0", "new_reliability": 1.5}, (Code.INVALID_ARGUMENT, "reliab")),
        ("UpdateClientPerformance", {"client_id": "edge-0", "reason": "x"}, (Code.INVALID_ARGUMENT, "/reason")),
    ],
)
async def test_what_is_wrong_is_named(
    api: Api, channel: grpc.aio.Channel, method: str, fields: dict[str, Any], refusal: tuple[Code, str]
) -> None:
    await api.register("edge-0")
    before = await api.stored()
    found, detail, trailers = await refused(channel, method, **fields)
    code, named = refusal
    assert (found, named in detail) == (code, True), detail
    assert trailers["tcsfeel-problem"].startswith("urn:tcsfeel:problem:")
    assert await api.stored() == before


async def test_a_call_keeps_the_id_that_its_caller_gives_it(channel: grpc.aio.Channel) -> None:
    metadata = (*BEARER, ("x-request-id", "mine-1"))
    _, _, trailers = await refused(channel, "UpdateClientPerformance", metadata=metadata, client_id="nobody")
    assert trailers["x-request-id"] == "mine-1"


async def test_long_messages_are_refused_before_they_are_read(channel: grpc.aio.Channel) -> None:
    code, _, _ = await refused(channel, "OptimizeTopology", exclude=["edge-1234567890"] * (MOST_BYTES // 16))
    assert code == Code.RESOURCE_EXHAUSTED


async def test_calls_are_counted_by_method_and_code(api: Api, channel: grpc.aio.Channel) -> None:
    await call(channel, "GetTopologyStats")
    await refused(channel, "GetTopologyStats", metadata=())

    def counted(code: str) -> float | None:
        labels = {"method": "GetTopologyStats", "code": code}
        return api.system.metrics.registry.get_sample_value("federated_grpc_calls_total", labels)

    async def both_are() -> bool:
        return (counted("OK"), counted("UNAUTHENTICATED")) == (1, 1)

    await until(both_are)  # a call is counted when its answer has been sent


async def test_a_deadline_that_has_passed_ends_the_call(api: Api, channel: grpc.aio.Channel) -> None:
    await fleet(api)
    assert (await refused(channel, "OptimizeTopology", timeout=1e-6))[0] == Code.DEADLINE_EXCEEDED
