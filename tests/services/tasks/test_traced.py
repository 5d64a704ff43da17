"""A round is one trace: a step for each of its states, and in them the exchange with each client."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from app.services.tasks.channels import Channels
from app.services.tasks.dispatch import Dispatcher
from app.services.tasks.pulls import Taken
from app.services.tasks.requests import Request
from app.services.tasks.responses import Ask, Proof
from app.services.tasks.traced import TracedChannels, TracedDispatcher, TracedTransport
from app.store.database import Database
from app.traces.spans import RoundTraces, trace_id
from tcsfeel.agent import AgentHost
from tests.planes import Adder, plane, policy
from tests.services.tasks.mailing import TASK, posting

# So that no busy machine makes it lose the lease, after which another span begins.
PATIENT = {"enabled": False, "tick_seconds": 0.01, "lease_seconds": 600}


class Host(AgentHost):
    """Notes the header ``traceparent`` of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", []))
        if scope["type"] == "http":
            self.asked.append((scope["method"], headers.get(b"traceparent", b"").decode()))
        await super().__call__(scope, receive, send)


def children(spans: tuple[ReadableSpan, ...], parent: ReadableSpan) -> list[str]:
    assert parent.context is not None
    own = [span for span in spans if span.parent is not None and span.parent.span_id == parent.context.span_id]
    return [span.name for span in sorted(own, key=lambda span: span.start_time or 0)]


async def test_a_round_is_one_trace_with_its_steps_and_the_exchange_with_each_client(
    tmp_path: Path, sqlite_url: str
) -> None:
    exporter, host, trainers = InMemorySpanExporter(), Host(), {"a": Adder(), "b": Adder()}
    for client_id, trainer in trainers.items():
        host.add(client_id, trainer, token=f"token-of-{client_id}")
    traces = RoundTraces(exporter, server="host-1")
    async with plane(tmp_path, sqlite_url, trainers, host=host, traces=traces, coordinator=PATIENT) as found:
        training = await found.create()
        await found.run_round(training)
    host.close()
    spans = exporter.get_finished_spans()
    (root,) = [span for span in spans if span.parent is None]
    by_name = {name: [span for span in spans if span.name == name] for name in {span.name for span in spans}}
    assert {format_trace_id(span.context.trace_id) for span in spans if span.context} == {
        format_trace_id(trace_id(training, 1))
    }
    assert root.attributes is not None
    assert (root.name, root.attributes["tcsfeel.training"], root.attributes["tcsfeel.status"]) == (
        "round", training, "completed",
    )  # fmt: skip
    assert root.resource.attributes["service.instance.id"] == "host-1"
    assert children(spans, root) == ["selecting", "training", "aggregating", "evaluating"]
    assert children(spans, by_name["training"][0]) == ["exchange fit", "exchange fit"]
    assert set(children(spans, by_name["evaluating"][0])) == {"exchange evaluate"}
    assert children(spans, by_name["exchange fit"][0])[0] == "hand over"
    asked = {header for method, header in host.asked if method == "PUT"}
    sent = {
        f"00-{format_trace_id(span.context.trace_id)}-{format_span_id(span.context.span_id)}-01"
        for span in by_name["hand over"]
        if span.context
    }
    assert asked == sent


async def test_an_exchange_that_fails_says_why(tmp_path: Path, sqlite_url: str) -> None:
    exporter = InMemorySpanExporter()
    failing = Adder()
    failing.problem = RuntimeError("the sensor is cold")
    async with plane(
        tmp_path, sqlite_url, {"a": failing}, traces=RoundTraces(exporter, server="host-1"), coordinator=PATIENT
    ) as found:
        await found.run_round(await found.create(clients=1, round_policy=policy(quorum=1.0)))
    failed = {span.name: span.status for span in exporter.get_finished_spans() if not span.status.is_ok}
    assert {name: status.status_code for name, status in failed.items()} == {
        "exchange fit": StatusCode.ERROR,
        "round": StatusCode.ERROR,
    }
    assert "its trainer failed: RuntimeError: the sensor is cold" in (failed["exchange fit"].description or "")


async def test_an_exchange_has_the_times_of_its_agent_as_spans_of_their_own(tmp_path: Path, sqlite_url: str) -> None:
    exporter = InMemorySpanExporter()
    async with plane(
        tmp_path, sqlite_url, {"a": Adder()}, traces=RoundTraces(exporter, server="host-1"), coordinator=PATIENT
    ) as found:
        await found.run_round(await found.create(clients=1))
    spans = exporter.get_finished_spans()
    for kind in ("fit", "evaluate"):
        (exchange,) = (span for span in spans if span.name == f"exchange {kind}")
        assert set(children(spans, exchange)) - {"hand over", "wait"} == {f"agent {kind}", "agent upload"}


async def test_an_agent_that_pulls_is_told_the_step_that_has_offered_its_task(db: Database, tmp_path: Path) -> None:
    traces = RoundTraces(exporter := InMemorySpanExporter(), server="host-1")
    async with posting(db, tmp_path, traces=traces) as post:
        with traces.round("t", 1):
            await post.offer()
        taken = await post.next()
        assert isinstance(taken, Taken)
        again = await post.pulls.again("a", TASK.id)
    traces.close()
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    said = f"00-{format_trace_id(trace_id('t', 1))}-{format_span_id(span.context.span_id)}-01"
    assert (taken.headers["traceparent"], again.headers["traceparent"]) == (said, said)


async def test_requests_name_the_present_step_and_go_to_the_transport() -> None:
    seen: list[Any] = []

    class Wire:
        async def exchange(self, request: Request, proof: Proof | None = None) -> Any:
            seen.append((request.headers.get("traceparent", "")[:3], proof))

        async def close(self) -> None:
            seen.append("closed")

    traces = RoundTraces(InMemorySpanExporter(), server="host")
    transport = TracedTransport(traces, Wire())
    await transport.exchange(Request("GET", "http://a", "/healthz"))

    async def give(_ask: Ask) -> None:
        raise AssertionError("the transport asks for it")

    proof = Proof("key", give)
    with traces.round("t", 1):
        await transport.exchange(Request("GET", "http://a", "/tasks/x"), proof)
    await transport.close()
    traces.close()
    assert seen == [("", None), ("00-", proof), "closed"]


@pytest.mark.parametrize(
    ("traced", "other"),
    [
        (TracedDispatcher.run, Dispatcher.run),
        (TracedChannels.hand_over, Channels.hand_over),
        (TracedChannels.poll, Channels.poll),
    ],
)
def test_what_is_traced_is_called_like_what_it_stands_in_for(traced: Any, other: Any) -> None:
    given = [one for one in inspect.signature(other).parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
    own = [one for one in inspect.signature(traced).parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert own == given
