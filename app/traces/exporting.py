"""Export spans to a collector by OTLP over HTTP."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from app.settings.insight import TraceSettings
from app.traces.spans import RoundTraces

SECONDS = 5  # for one export; what cannot be exported is lost


def exported(settings: TraceSettings, server: str) -> RoundTraces:
    """Return what exports spans to the collector of the settings."""
    exporter = OTLPSpanExporter(endpoint=f"{(settings.endpoint or '').rstrip('/')}/v1/traces", timeout=SECONDS)
    return RoundTraces(exporter, server=server, share=settings.share)
