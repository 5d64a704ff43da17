"""A client for event loops.

Its methods are made from the operations that both kinds of clients share.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, Self, TypeVar

import httpx2

from tcsfeel.certificates import trusted
from tcsfeel.client import access, breakers, continuing, following, invitations, operations, parameters
from tcsfeel.client import webhooks as webhook_operations
from tcsfeel.client.events import followed_async, list_events
from tcsfeel.client.pages import AsyncPages
from tcsfeel.client.signatures import show_as_method
from tcsfeel.contract.audit import AuditRecordOut
from tcsfeel.contract.clients import ClientOut
from tcsfeel.contract.events import EventOut, EventsOut
from tcsfeel.contract.invitations import EnrolmentOut
from tcsfeel.contract.keys import KeyOut
from tcsfeel.contract.models import ListedModelOut
from tcsfeel.contract.rounds import RoundOut
from tcsfeel.contract.trainings import TrainingOut
from tcsfeel.contract.webhooks import DeadDeliveryOut, WebhookOut
from tcsfeel.rest import tasks
from tcsfeel.rest.deadlines import limits
from tcsfeel.rest.exchange import MAX_ANSWER_BYTES, Patience, Steps
from tcsfeel.rest.transport import AsyncTransport, base_url, headers, no_cookies

P = ParamSpec("P")
Result = TypeVar("Result")

PAGE = 1000  # items that one request of an iteration asks for


def _method(operation: Callable[P, Steps[Result]]) -> Callable[Concatenate["AsyncClient", P], Awaitable[Result]]:
    """Make a method that runs an operation."""

    @wraps(operation)
    async def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return await client.transport.run(operation(*args, **kwargs))

    show_as_method(method, operation)
    return method


class AsyncClient:
    """Calls the REST API of a control plane, in an event loop. Its arguments and methods are those of `Client`."""

    def __init__(
        self,
        server: str,
        key: str | None = None,
        *,
        patience: Patience | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        ca_file: Path | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        http = httpx2.AsyncClient(
            base_url=base_url(server),
            headers=headers(key),
            cookies=no_cookies(),
            transport=transport,
            limits=limits(),
            verify=trusted(ca_file),
            trust_env=False,  # a proxy from the environment is for addresses outside
        )
        self.transport = AsyncTransport(http, patience, max_answer_bytes=max_answer_bytes)

    def __repr__(self) -> str:
        return f"AsyncClient({self.transport.server!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self.transport.aclose()

    def clients(
        self,
        *,
        status: Literal["healthy", "suspect", "down"] | None = None,
        healthy: bool | None = None,
        breaker: Literal["closed", "open", "half_open"] | None = None,
        tags: Sequence[str] = (),
    ) -> AsyncPages[ClientOut]:
        """Iterate over all clients, in the order of their ids."""
        return AsyncPages(
            lambda cursor: self.list_clients(
                status=status, healthy=healthy, breaker=breaker, tags=tags, limit=PAGE, cursor=cursor
            )
        )

    def trainings(self) -> AsyncPages[TrainingOut]:
        """Iterate over all trainings, newest first."""
        return AsyncPages(lambda cursor: self.list_trainings(limit=PAGE, cursor=cursor))

    def rounds(self, training_id: str) -> AsyncPages[RoundOut]:
        """Iterate over all rounds of a training, newest first."""
        return AsyncPages(lambda cursor: self.list_rounds(training_id, limit=PAGE, cursor=cursor))

    def models(self, training_id: str) -> AsyncPages[ListedModelOut]:
        """Iterate over all model versions of a training, newest first."""
        return AsyncPages(lambda cursor: self.list_models(training_id, limit=PAGE, cursor=cursor))

    def api_keys(self) -> AsyncPages[KeyOut]:
        """Iterate over all API keys, newest first, including those that are not valid any more."""
        return AsyncPages(lambda cursor: self.list_keys(limit=PAGE, cursor=cursor))

    def enrolments(self, invitation_id: str) -> AsyncPages[EnrolmentOut]:
        """Iterate over all devices that have enrolled with an invitation, in the order of their client ids."""
        return AsyncPages(lambda cursor: self.list_enrolments(invitation_id, limit=PAGE, cursor=cursor))

    def webhooks(self) -> AsyncPages[WebhookOut]:
        """Iterate over all webhooks, newest first."""
        return AsyncPages(lambda cursor: self.list_webhooks(limit=PAGE, cursor=cursor))

    def dead_letters(self, webhook_id: str) -> AsyncPages[DeadDeliveryOut]:
        """Iterate over all deliveries of a webhook that were given up, oldest event first."""
        return AsyncPages(lambda cursor: self.list_dead_letters(webhook_id, limit=PAGE, cursor=cursor))

    def audit_records(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncPages[AuditRecordOut]:
        """Iterate over all audit records, in the order of their numbers."""
        return AsyncPages(lambda cursor: self.list_audit_records(since=since, until=until, limit=PAGE, cursor=cursor))

    def events(
        self,
        *,
        after: int = 0,
        types: Sequence[str] = (),
        training: str | None = None,
        client: str | None = None,
        follow: bool = False,
    ) -> AsyncIterator[EventOut]:
        """Iterate over the events after a cursor, oldest first. With `follow`, it waits for more and does not end.

        After an error, go on with the last `id` as `after`.
        """

        async def read(cursor: int, wait: float) -> EventsOut:
            return await self.list_events(
                after=cursor, types=types, training=training, client=client, wait=wait, limit=PAGE
            )

        return followed_async(read, after, follow=follow)

    register_client = _method(operations.register_client)
    register_clients = _method(operations.register_clients)
    list_clients = _method(operations.list_clients)
    get_client = _method(operations.get_client)
    put_client = _method(operations.put_client)
    change_client = _method(operations.change_client)
    remove_client = _method(operations.remove_client)
    heartbeat = _method(operations.heartbeat)
    next_task = _method(tasks.next_task)
    get_task = _method(tasks.get_task)
    put_result = _method(tasks.put_result)
    result_progress = _method(tasks.result_progress)
    append_result = _method(tasks.append_result)
    create_invitation = _method(invitations.create_invitation)
    list_invitations = _method(invitations.list_invitations)
    get_invitation = _method(invitations.get_invitation)
    list_enrolments = _method(invitations.list_enrolments)
    revoke_invitation = _method(invitations.revoke_invitation)
    create_replacement = _method(invitations.create_replacement)
    enrol_client = _method(invitations.enrol_client)
    report_outcome = _method(breakers.report_outcome)
    get_breaker = _method(breakers.get_breaker)
    reset_breaker = _method(breakers.reset_breaker)
    open_breaker = _method(breakers.open_breaker)
    replace_connectivity = _method(operations.replace_connectivity)
    change_connectivity = _method(operations.change_connectivity)
    get_connectivity = _method(operations.get_connectivity)
    get_topology = _method(operations.get_topology)
    list_strategies = _method(operations.list_strategies)
    plan_selection = _method(operations.plan_selection)
    create_training = _method(operations.create_training)
    list_trainings = _method(operations.list_trainings)
    get_training = _method(operations.get_training)
    change_training = _method(operations.change_training)
    start_training = _method(operations.start_training)
    pause_training = _method(operations.pause_training)
    resume_training = _method(operations.resume_training)
    cancel_training = _method(operations.cancel_training)
    extend_training = _method(continuing.extend_training)
    fork_training = _method(continuing.fork_training)
    list_rounds = _method(operations.list_rounds)
    get_round = _method(operations.get_round)
    get_round_selection = _method(operations.get_round_selection)
    list_models = _method(operations.list_models)
    pin_model = _method(operations.pin_model)
    unpin_model = _method(operations.unpin_model)
    get_caller = _method(access.get_caller)
    create_key = _method(access.create_key)
    list_keys = _method(access.list_keys)
    get_key = _method(access.get_key)
    revoke_key = _method(access.revoke_key)
    rotate_key = _method(access.rotate_key)
    list_events = _method(list_events)
    create_webhook = _method(webhook_operations.create_webhook)
    list_webhooks = _method(webhook_operations.list_webhooks)
    get_webhook = _method(webhook_operations.get_webhook)
    change_webhook = _method(webhook_operations.change_webhook)
    remove_webhook = _method(webhook_operations.remove_webhook)
    list_dead_letters = _method(webhook_operations.list_dead_letters)
    redeliver_events = _method(webhook_operations.redeliver_events)
    list_audit_records = _method(operations.list_audit_records)
    get_audit_head = _method(operations.get_audit_head)
    healthz = _method(operations.healthz)
    readyz = _method(operations.readyz)
    metrics = _method(operations.metrics)
    upload_model = _method(parameters.upload_model)
    download_model = _method(parameters.download_model)
    save_model = _method(parameters.save_model)
    run_round = _method(following.run_round)
    wait = _method(following.wait)
    train = _method(following.train)
