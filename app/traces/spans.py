"""Make spans with OpenTelemetry, one trace for each round.

The id of a round's trace follows from its training and its number. So a server that takes a round over goes on in the
same trace, and nobody has to store the id.
"""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, Status, StatusCode, Tracer, format_trace_id, set_span_in_context, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.traces import Attribute, Step, Traces
from tcsfeel.text import LONGEST, plain

PREFIX = "tcsfeel."
"""The beginning of the names of attributes."""
LAST_SECONDS = 3.0
"""For how long a server that ends begins exports of what is left."""
NANOSECONDS = 1_000_000_000
"""In a second. OpenTelemetry counts them."""
_wanted: ContextVar[int | None] = ContextVar("the id of the next trace", default=None)


def trace_id(training_id: str, number: int) -> int:
    """Return the id of a round's trace, 128 bits."""
    return int.from_bytes(hashlib.sha256(f"{training_id} {number}".encode()).digest()[:16])


class _Ids(RandomIdGenerator):
    """Gives a trace the id that is wanted."""

    def generate_trace_id(self) -> int:
        return _wanted.get() or super().generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return False


class SpanStep(Step):
    """A step that is traced as a span."""

    def __init__(self, span: Span, tracer: Tracer) -> None:
        self._span = span
        self._tracer = tracer

    def note(self, **attributes: Attribute | None) -> None:
        self._span.set_attributes(_named(attributes))

    def fail(self, reason: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR, plain(reason, LONGEST)))

    def worked(self, kind: str, seconds: float, upload_seconds: float) -> None:
        span = self._span
        if not isinstance(span, ReadableSpan) or span.start_time is None or span.end_time is None:
            return  # it is not exported
        sent = _before(span.end_time, upload_seconds, span.start_time)
        began = _before(sent, seconds, span.start_time)  # an agent may say anything
        self._child(f"agent {kind}", began, sent, seconds)
        self._child("agent upload", sent, span.end_time, upload_seconds)

    def _child(self, name: str, began: int, ended: int, seconds: float) -> None:
        about = _named({"seconds": seconds})
        parent = set_span_in_context(self._span, Context())
        self._tracer.start_span(name, context=parent, attributes=about, start_time=began).end(ended)


class RoundTraces(Traces):
    """Exports spans of the `server` with this name, of a `share` of the rounds, 0..1."""

    exports = True

    def __init__(self, exporter: SpanExporter, *, server: str, share: float = 1.0) -> None:
        about = {"service.name": "tcsfeel", "service.version": __version__, "service.instance.id": server}
        self._sampler = TraceIdRatioBased(share)
        self._provider = TracerProvider(
            resource=Resource.create(about), sampler=ParentBased(self._sampler), id_generator=_Ids()
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._exporter = exporter
        self._tracer = self._provider.get_tracer("tcsfeel", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def round(self, training_id: str, number: int) -> Iterator[Step]:
        token = _wanted.set(trace_id(training_id, number))
        try:
            about = _named({"training": training_id, "round": number})
            span = self._tracer.start_span("round", context=Context(), attributes=about)
        finally:
            _wanted.reset(token)
        with self._during(span) as step:
            yield step

    @contextmanager
    def step(self, name: str, **attributes: Attribute | None) -> Iterator[Step]:
        with self._during(self._tracer.start_span(name, attributes=_named(attributes))) as step:
            yield step

    def headers(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        self._propagator.inject(found)
        return found

    def exemplar(self, training_id: str, number: int) -> dict[str, str] | None:
        wanted = trace_id(training_id, number)
        if self._sampler.should_sample(None, wanted, "round").decision is not Decision.RECORD_AND_SAMPLE:
            return None
        return {"trace_id": format_trace_id(wanted)}

    @contextmanager
    def _during(self, span: Span) -> Iterator[Step]:
        """End a span with the block. An exception fails it by its text; OpenTelemetry would send its traceback, too."""
        step = SpanStep(span, self._tracer)
        with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield step
            except Exception as error:
                step.fail(f"{type(error).__name__}: {error}")
                raise

    def close(self) -> None:
        """Export what is left, but begin nothing after `LAST_SECONDS`: a collector may be there and not answer."""
        end = threading.Timer(LAST_SECONDS, self._exporter.shutdown)
        end.start()
        try:
            self._provider.shutdown()
        finally:
            end.cancel()


def _before(instant: int, seconds: float, earliest: int) -> int:
    """Return the instant so many seconds earlier, but at least `earliest`, and not after `instant`, in nanoseconds."""
    length = instant - earliest
    return instant - round(min(max(0.0, seconds * NANOSECONDS), length))


def _named(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    return {
        f"{PREFIX}{name}": plain(value, LONGEST) if isinstance(value, str) else value
        for name, value in attributes.items()
        if value is not None
    }
