"""How much one caller may use."""

from typing import Annotated

from pydantic import Field

from app.settings.section import Section


class LimitSettings(Section):
    """How much one caller may use. A caller is a key; without a key it is an address.

    A key of a person or a program may send `requests_per_second`, one of a device `agent_requests_per_second`, and an
    address without a key `address_requests_per_second`, over all servers together. At the same time, each server
    answers at most `concurrent_requests` of a key or an address, and `agent_concurrent_requests` of a device; and
    `waits` calls of an address may wait for rounds, and `streams` calls of a key or an address for events.
    `waiting_agents` agents may wait for tasks at each server. Results of agents that have come in only partly have at
    most `client_unfinished_bytes` of one client, and `unfinished_bytes` of all clients together.

    There may be `webhooks` at most. A key may have created at most `trainings` that have not ended. The models that
    are kept of its trainings may have `model_bytes` together before a further one is uploaded. Idempotency keys are
    kept for `idempotency_key_hours`, and invitations for `invitation_days` after they have expired or were revoked.
    """

    requests_per_second: Annotated[float, Field(ge=1, le=1_000_000)] = 2_000.0
    agent_requests_per_second: Annotated[float, Field(ge=1, le=1_000_000)] = 50.0
    address_requests_per_second: Annotated[float, Field(ge=1, le=1_000_000)] = 200.0
    concurrent_requests: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    agent_concurrent_requests: Annotated[int, Field(ge=1, le=100_000)] = 32
    waits: Annotated[int, Field(ge=1, le=100_000)] = 256
    waiting_agents: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    streams: Annotated[int, Field(ge=1, le=100_000)] = 512
    client_unfinished_bytes: Annotated[int, Field(ge=1)] = 8_000_000_000
    unfinished_bytes: Annotated[int, Field(ge=1)] = 100_000_000_000
    trainings: Annotated[int, Field(ge=1, le=10_000_000)] = 1_000
    webhooks: Annotated[int, Field(ge=1, le=10_000)] = 100
    model_bytes: Annotated[int, Field(ge=1)] = 1_000_000_000_000
    idempotency_key_hours: Annotated[float, Field(ge=0.1, le=1_000_000)] = 168.0
    invitation_days: Annotated[float, Field(ge=0, le=36_500)] = 90.0
