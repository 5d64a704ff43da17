"""The operations on circuit breakers, and the outcomes that move them."""

from typing import Any

from tcsfeel.client.messages import call, with_body
from tcsfeel.contract.clients import BreakerOut
from tcsfeel.contract.outcomes import OutcomeOut, ReportOutcome
from tcsfeel.rest.exchange import Request, Steps
from tcsfeel.rest.paths import path


def report_outcome(client_id: str, outcome: ReportOutcome | None = None, **fields: Any) -> Steps[OutcomeOut]:
    """Report how a call of a client ended that your own program made."""
    request = Request("POST", path("/v1/clients/{client_id}/outcomes", client_id))
    return (yield from call(OutcomeOut, (yield from with_body(request, ReportOutcome, outcome, fields))))


def get_breaker(client_id: str) -> Steps[BreakerOut]:
    """Read the circuit breaker in front of a client."""
    return (
        yield from call(BreakerOut, Request("GET", path("/v1/clients/{client_id}/breaker", client_id), repeatable=True))
    )


def reset_breaker(client_id: str) -> Steps[BreakerOut]:
    """Close a client's breaker by hand."""
    return (yield from call(BreakerOut, Request("POST", path("/v1/clients/{client_id}/breaker/reset", client_id))))


def open_breaker(client_id: str) -> Steps[BreakerOut]:
    """Isolate a client by hand, until its breaker is reset."""
    return (yield from call(BreakerOut, Request("POST", path("/v1/clients/{client_id}/breaker/open", client_id))))
