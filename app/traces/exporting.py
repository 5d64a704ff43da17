"""Export spans to a collector by OTLP over HTTP."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from app.settings.insight import TRACES_PATH
from app.traces.spans import RoundTraces

SECONDS = 5  # for one export; what cannot be exported is lost


def exported(endpoint: str, *, server: str, share: float) -> RoundTraces:
    """Return what exports spans of a `share` of the rounds to the collector at `endpoint`."""
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}{TRACES_PATH}", timeout=SECONDS)
    return RoundTraces(exporter, server=server, share=share)
