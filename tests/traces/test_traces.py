"""Which spans are made, and that none are where nobody asks for them.

Covers: app.traces, app.traces.spans, app.traces.exporting, app.composition.tracing
"""

import ast
import http.server
import math
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_trace_id

from app.composition.tracing import traces_of
from app.settings import TraceSettings, WrongSetting
from app.traces import Traces, spans
from app.traces.spans import RoundTraces, trace_id
from tcsfeel.text import LONGEST
from tests.api import running_api
from tests.serving import serving

APP = Path(__file__).parent.parent.parent / "app"


def test_every_server_gives_a_round_the_same_trace_and_exports_the_same_share() -> None:
    exporters = [InMemorySpanExporter() for _ in range(3)]
    for exporter, number in zip(exporters, (1, 1, 2), strict=True):
        traces = RoundTraces(exporter, server="host")
        assert traces.headers() == {}
        with traces.round("t", number):
            assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", traces.headers()["traceparent"])
        traces.close()
    first, again, second = (span for exporter in exporters for span in exporter.get_finished_spans())
    assert first.context is not None
    assert again.context is not None
    assert second.context is not None
    assert first.context.trace_id == again.context.trace_id != second.context.trace_id
    assert first.context.span_id != again.context.span_id
    none = RoundTraces(exporter := InMemorySpanExporter(), server="host", share=0.0)
    with none.round("t", 1), none.step("selecting"):
        assert none.headers()["traceparent"].endswith("-00")
    none.close()
    assert exporter.get_finished_spans() == ()
    assert none.exemplar("t", 1) is None


def test_an_exception_is_told_in_one_bounded_line_without_its_traceback() -> None:
    exporter = InMemorySpanExporter()
    traces = RoundTraces(exporter, server="host")
    with pytest.raises(ValueError, match="by an agent"), traces.round("t", 1), traces.step("training"):
        raise ValueError("by an agent\x1b[2J\n" + "x" * 100_000)
    traces.close()
    for span in exporter.get_finished_spans():
        assert span.status.description is not None
        assert span.status.description.startswith("ValueError: by an agent")
        assert span.status.description.isprintable()
        assert len(span.status.description) <= LONGEST
        assert span.events == ()


@pytest.mark.parametrize(
    ("said", "upload", "work", "sent"),
    [
        (2.0, 1.0, (7, 9), (9, 10)),
        (1e9, 1.0, (0, 9), (9, 10)),
        (0.0, 99.0, (0, 0), (0, 10)),
        (2.0, -1.0, (8, 10), (10, 10)),
        (math.inf, math.inf, (0, 0), (0, 10)),
    ],
)
def test_an_agent_that_says_anything_of_its_time_gets_no_span_outside_the_exchange(
    said: float, upload: float, work: tuple[int, int], sent: tuple[int, int]
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    span = tracer.start_span("exchange fit", start_time=0)
    span.end(10 * spans.NANOSECONDS)
    spans.SpanStep(span, tracer).worked("fit", said, upload)
    exchange, *own = exporter.get_finished_spans()
    assert [one.parent for one in own] == [exchange.context] * 2
    times = {
        one.name: ((one.start_time or 0) // spans.NANOSECONDS, (one.end_time or 0) // spans.NANOSECONDS) for one in own
    }
    assert times == {"agent fit": work, "agent upload": sent}
    assert [(one.attributes or {})["tcsfeel.seconds"] for one in own] == [said, upload]


def test_a_collector_that_does_not_answer_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(InMemorySpanExporter):
        """Answers only when it is shut down."""

        def __init__(self) -> None:
            super().__init__()
            self.ended = threading.Event()
            self.gave_up = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            self.gave_up |= self.ended.wait(20)
            return super().export(spans)

        def shutdown(self) -> None:
            super().shutdown()
            self.ended.set()

    monkeypatch.setattr(spans, "LAST_SECONDS", 0.01)
    traces = RoundTraces(exporter := Silent(), server="host")
    with traces.round("t", 1):
        pass
    traces.close()
    assert exporter.gave_up
    assert exporter.get_finished_spans() == ()


async def test_the_durations_of_rounds_lead_to_their_traces_where_the_caller_takes_that(
    tmp_path: Path, sqlite_url: str
) -> None:
    traces = RoundTraces(InMemorySpanExporter(), server="host")
    async with running_api(tmp_path, sqlite_url, traces=traces) as api:
        metrics = api.system.metrics
        metrics.round_duration.labels("completed").observe(2.0, metrics.exemplar_of("t", 1))
        took = await api.http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        plain = await api.http.get("/metrics")
        odd = await api.http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=x, text/plain"})
    wanted = f'le="2.5",outcome="completed"}} 1.0 # {{trace_id="{format_trace_id(trace_id("t", 1))}"}} 2.0'
    assert wanted in took.text
    assert took.headers["Content-Type"].startswith("application/openmetrics-text")
    assert "trace_id" not in plain.text
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert (odd.status_code, odd.headers["Content-Type"]) == (200, took.headers["Content-Type"])


def test_a_server_without_an_endpoint_traces_nothing() -> None:
    traces = traces_of(TraceSettings(), "host")
    assert type(traces) is Traces
    with traces.round("t", 1) as round_, traces.step("selecting") as step:
        round_.note(status="completed")
        step.fail("nothing")
    assert (traces.exports, traces.headers(), traces.exemplar("t", 1)) == (False, {}, None)
    traces.close()


@pytest.mark.parametrize("end", ["", "/", "/otlp/"])
def test_spans_go_to_the_collector_of_the_endpoint(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    paths: list[str] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving(http.server.HTTPServer(("127.0.0.1", 0), Collector)) as collector:
        settings = TraceSettings(endpoint=f"http://127.0.0.1:{collector.server_port}{end}")
        traces = traces_of(settings, "host")
        with traces.round("t", 1):
            pass
        traces.close()
    assert paths == [f"{end.rstrip('/')}/v1/traces"]


def test_an_endpoint_without_the_packages_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.traces.exporting", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(WrongSetting, match=r"TCSFEEL_TRACES__ENDPOINT: .*pip install 'tcsfeel-server\[otel\]'"):
        traces_of(TraceSettings(endpoint="http://127.0.0.1:4318"), "host")


def test_the_packages_are_imported_only_where_spans_are_made() -> None:
    users = {
        str(path.relative_to(APP)): {
            node.module
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.ImportFrom) and node.module is not None
        }
        for path in APP.rglob("*.py")
    }
    makers = {"traces/spans.py", "traces/exporting.py"}
    assert {file for file, found in users.items() if any(one.startswith("opentelemetry") for one in found)} == makers
    assert {file for file, found in users.items() if found & {"app.traces.spans", "app.traces.exporting"}} < makers
