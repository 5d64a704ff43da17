"""Trace what happens between the server and an agent: each exchange, its hand-overs and its waits.

These stand in for the dispatcher, the channel and the transport of a server that exports traces.
"""

from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

from app.domain.clients import Endpoint
from app.domain.retries import RetryBudget
from app.domain.tasks import TaskRun
from app.services.tasks.assignments import Assignment, TaskOutcome
from app.services.tasks.bodies import TaskBody
from app.services.tasks.channels import Channels
from app.services.tasks.dispatch import Dispatcher
from app.services.tasks.replies import Reply
from app.services.tasks.requests import Request
from app.services.tasks.responses import Proof, Response, Transport
from app.store.model_store import ModelStore
from app.traces import Traces


class TracedDispatcher(Dispatcher):
    """Traces each task from the first hand-over to its result."""

    def __init__(self, traces: Traces, **given: Any) -> None:
        super().__init__(**given)
        self._traces = traces

    async def run(self, assignment: Assignment, runs: MutableMapping[str, TaskRun], budget: RetryBudget) -> TaskOutcome:
        task, client = assignment.task, assignment.client
        with self._traces.step(f"exchange {task.kind}", client=client.id, task=task.id) as step:
            outcome = await super().run(assignment, runs, budget)
            run = outcome.run
            step.note(attempts=run.attempts, bytes_sent=run.bytes_sent, bytes_received=run.bytes_received)
            if outcome.result is None:
                step.fail(outcome.reason or "there is no result")
        return replace(outcome, exchange=step)


class TracedChannels(Channels):
    """Traces each hand-over, and each wait for a result; the result comes at the end of one of them."""

    def __init__(self, traces: Traces, *given: Any) -> None:
        super().__init__(*given)
        self._traces = traces

    async def hand_over(
        self, agent: Endpoint, task_id: str, body: TaskBody, spool: ModelStore, **options: Any
    ) -> Reply:
        with self._traces.step("hand over", bytes=len(body), channel=_way(agent)) as step:
            reply = await super().hand_over(agent, task_id, body, spool, **options)
            step.note(answer=reply.answer)
        return reply

    async def poll(self, agent: Endpoint, task_id: str, wait: float, spool: ModelStore, **options: Any) -> Reply:
        with self._traces.step("wait", seconds=wait, channel=_way(agent)) as step:
            reply = await super().poll(agent, task_id, wait, spool, **options)
            step.note(answer=reply.answer, bytes=None if reply.file is None else reply.file.size)
        return reply


def _way(agent: Endpoint) -> str:
    return "pull" if agent.pulls else "push"


class TracedTransport:
    """Tells agents to which step a request belongs, in the header ``traceparent``."""

    def __init__(self, traces: Traces, transport: Transport) -> None:
        self._traces = traces
        self._transport = transport

    async def exchange(self, request: Request, proof: Proof | None = None) -> Response:
        """Send a request with the header, as the transport does."""
        request.headers.update(self._traces.headers())
        return await self._transport.exchange(request, proof)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()
