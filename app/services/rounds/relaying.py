"""The relays of a round: their tasks, the means that they send, and the clients that are asked directly after all.

Each client has a job of its own, as in a round without relays. The job of a child waits for the end of its relay.
Then it either finds that its update is in the mean that was stored, or asks its agent, which has kept its result if it
has trained for the relay.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.clock import Clock
from app.domain.clients import Client
from app.domain.local_work import whole_seconds
from app.domain.relays import CHILD_SHARE, RELAY_SHARE, groups
from app.domain.rounds import Participation
from app.domain.tasks import Observation, TaskRun
from app.metrics import Metrics
from app.services.rounds.ledger import RoundLedger
from app.services.rounds.partials import Mean, MemberGone, checked_mean, partial_size
from app.services.rounds.participants import NO_MEMORY, Participants
from app.services.rounds.phase import Phase
from app.services.rounds.results import figures
from app.services.rounds.settling import Rerouted
from app.services.tasks.assignments import Assignment, TaskOutcome
from app.services.tasks.breakers import Breakers
from app.services.tasks.dispatch import Dispatcher
from app.services.tasks.grants import Grants
from app.store.leases import Lease
from app.threads import in_thread
from tcsfeel.aggregation import update_quality
from tcsfeel.errors import UpdateRejected
from tcsfeel.wire.relays import LONGEST_REASON
from tcsfeel.wire.tasks import TaskResult

Job = Coroutine[Any, Any, float | None]


@dataclass(slots=True)
class _Course:
    """What has become of a relay: whether its participation has ended, and whose updates it has brought, since when."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    brought: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Relay:
    """A relay in a phase, with its children as they were when the phase began."""

    part: Participation
    client: Client
    children: Mapping[str, Client]
    course: _Course


class Relaying:
    """Runs the fit tasks of a round, over its relay tree if it has one."""

    def __init__(
        self,
        *,
        clock: Clock,
        participants: Participants,
        dispatcher: Dispatcher,
        breakers: Breakers,
        ledger: RoundLedger,
        grants: Grants,
        metrics: Metrics,
    ) -> None:
        self._clock = clock
        self._participants = participants
        self._dispatcher = dispatcher
        self._breakers = breakers
        self._results = participants.results
        self._ledger = ledger
        self._grants = grants
        self._metrics = metrics

    def jobs(
        self,
        lease: Lease,
        phase: Phase,
        outstanding: Sequence[Participation],
        clients: Mapping[str, Client],
        resumed: frozenset[str],
    ) -> list[Job]:
        """Return the job of each outstanding participation, which are those of `Participants.fit`.

        The agents of `resumed` clients may know their tasks already.
        """
        parts = {part.client_id: part for part in outstanding}
        courses: dict[str, _Course] = {}
        jobs: list[Job] = []
        for relay, children in groups(phase.round_).items():
            there = {child: clients[child] for child in children if child in parts and child in clients}
            if relay not in parts or relay not in clients or not there:
                continue
            tree = _Relay(parts[relay], clients[relay], there, _Course())
            courses |= dict.fromkeys(there, tree.course)
            jobs.append(self._relay(lease, phase, tree, resumed=relay in resumed))
            del parts[relay]
        for client_id, part in parts.items():
            client = clients.get(client_id)
            if client_id in courses and client is not None:
                jobs.append(self._child(lease, phase, part, client, courses[client_id]))
            else:
                jobs.append(self._participants.fit(lease, phase, part, client, resumed=client_id in resumed))
        return jobs

    async def recover(
        self, phase: Phase, part: Participation, client: Client, clients: Mapping[str, Client]
    ) -> float | None:
        """Fetch an update, or the mean of a relay, once more. `clients` has those that may be its children."""
        assignment = await in_thread("checks", lambda: self._assignment(phase, part, client, clients, resumed=True))
        return await self._participants.recover(phase, assignment)

    def _assignment(
        self, phase: Phase, part: Participation, client: Client, clients: Mapping[str, Client], *, resumed: bool
    ) -> Assignment:
        """Return the task of a client, with its children if the round has hung some below it. It hashes: see `Grants`.

        `clients` has those that can be its children.
        """
        children = {child: clients[child] for child in groups(phase.round_).get(client.id, ()) if child in clients}
        now = self._clock.now()
        plain = phase.assignment(client, now, part, resumed=resumed)
        if not children:
            return plain
        left = max(1.0, phase.deadline - now)
        epochs = {one.client_id: one.local_epochs for one in phase.round_.participations if one.local_epochs}
        subtree = self._grants.subtree(
            plain.task, client.id, children, plain.model, seconds=CHILD_SHARE * left, now=now, epochs=epochs
        )
        limit = partial_size(phase.model, len(children) + 1).file_bytes
        return replace(plain, subtree=subtree, limit=limit)

    async def _child(
        self, lease: Lease, phase: Phase, part: Participation, client: Client, course: _Course
    ) -> float | None:
        """Wait for the relay of a client, and ask the client itself if its update did not come with it."""
        await course.over.wait()
        if part.client_id in course.brought:
            return course.brought[part.client_id]
        return await self._participants.fit(lease, phase, part, client, resumed=True)

    async def _relay(self, lease: Lease, phase: Phase, tree: _Relay, *, resumed: bool) -> float | None:
        """Run the task of a relay, and settle it together with the members of its mean."""
        part, client = tree.part, tree.client
        run, seen, mean = TaskRun(), Observation(), None
        try:
            assignment = await in_thread(
                "checks", lambda: self._assignment(phase, part, client, tree.children, resumed=resumed)
            )
            outcome = await self._in_time(phase, assignment)
            part, seen, mean = await self._checked(phase, tree, outcome)
        except MemoryError:
            part, seen = replace(part, status="failed", reason=NO_MEMORY), Observation(excused=True)
        run = phase.runs.get(client.id, run)
        now = self._clock.now()
        part = replace(run.charged(part), seconds=run.seconds(now), finished_at=now)
        share = 0.0 if mean is None else (len(mean.partial.members) - 1) / len(tree.children)
        seen = replace(seen, relaying=share, links={} if mean is None else mean.links)
        if mean is not None and not await self._settle(lease, phase, tree, (part, seen), mean):
            reason = "an update in its mean had ended otherwise before"
            part, mean = replace(tree.part, status="failed", reason=reason, finished_at=now), None
            seen = replace(seen, relaying=None, links={})
            part = run.charged(part)
        if mean is None:
            if part.status != "received":
                await phase.drop(client.id)
            written = await self._ledger.settled(lease, phase.round_, part, seen)
            if written and part.status == "received":
                tree.course.brought[part.client_id] = now
        await self._reroute(lease, phase, tree, part, mean)
        tree.course.over.set()
        return tree.course.brought.get(part.client_id)

    async def _in_time(self, phase: Phase, assignment: Assignment) -> TaskOutcome:
        """Run the task of a relay for as long as there is time to ask its children otherwise."""
        seconds = RELAY_SHARE * max(0.0, phase.deadline - self._clock.now())
        running = asyncio.create_task(self._dispatcher.run(assignment, phase.runs, phase.budget))
        timer = asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait({running, timer}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                return running.result()
        finally:
            running.cancel()
            timer.cancel()
            await asyncio.gather(running, timer, return_exceptions=True)
        reason = f"its mean did not come within {seconds:.3g} s, after which its children are asked directly"
        return TaskOutcome(phase.runs.get(assignment.client.id, TaskRun()), reason=reason)

    async def _checked(
        self, phase: Phase, tree: _Relay, outcome: TaskOutcome
    ) -> tuple[Participation, Observation, Mean | None]:
        """Check the answer of a relay. There is no mean if it has failed, or if it has sent its own update alone."""
        part, client = tree.part, tree.client
        if (came := outcome.result) is None:
            return *await self._results.checked(phase, part, client, outcome), None
        try:
            mean = await in_thread("checks", checked_mean, phase, client, tree.children, came.file)
        except MemberGone as error:  # it was removed while another owner had the round
            return replace(part, status="failed", reason=str(error)), Observation(excused=True), None
        except UpdateRejected as error:
            await self._breakers.fail(client.id, phase.failure(str(error)), under=phase.lease)
            rejected = replace(part, status="rejected", reason=str(error))
            return rejected, Observation(slow=outcome.run.slow, bandwidth=outcome.run.bandwidth), None
        if mean is None:
            return *await self._results.checked(phase, part, client, outcome), None
        outcome.trace("fit", mean.result)
        received = replace(
            part,
            status="received",
            reason=None,
            **figures(mean.result),
            update=came.file.sha256,
            update_norm=mean.norm,
            num_steps=mean.result.num_steps,
            digest=came.file.sha256,
            evidence=came.evidence,
        )
        seen = Observation(
            slow=outcome.run.slow,
            bandwidth=outcome.run.bandwidth,
            quality=update_quality(mean.result.loss),
            train_seconds=_trained(mean.result, part, phase),
        )
        return received, seen, mean

    async def _settle(
        self, lease: Lease, phase: Phase, tree: _Relay, ended: tuple[Participation, Observation], mean: Mean
    ) -> bool:
        """Store a relay and the members of its mean in one transaction, or none of them. Tells whether it was done."""
        relay, _ = ended
        settled = [ended]
        waiting = {part.client_id: part for part in phase.round_.participations}
        for member in mean.partial.members:
            if member.client_id == relay.client_id:
                continue
            part = replace(
                waiting[member.client_id],
                status="received",
                reason=None,
                **figures(member.result),
                num_steps=member.result.num_steps,
                digest=member.digest or None,
                evidence=mean.evidence.get(member.client_id),
                relay=relay.client_id,
                finished_at=relay.finished_at,
            )
            trained = _trained(member.result, part, phase)
            settled.append((part, Observation(quality=update_quality(member.result.loss), train_seconds=trained)))
        if not await self._ledger.settling.settle_together(lease, phase.round_, settled):
            return False
        tree.course.brought |= {part.client_id: relay.finished_at or 0.0 for part, _ in settled}
        return True

    async def _reroute(self, lease: Lease, phase: Phase, tree: _Relay, part: Participation, mean: Mean | None) -> None:
        """Write down which children are asked directly from now on, and why."""
        said = {} if mean is None else {one.client_id: one.reason for one in mean.partial.missing}
        if mean is None and part.status == "received":
            usual = "its relay answered with its own update alone"
        elif mean is None:
            usual = f"its relay {part.status}: {part.reason}"
        else:
            usual = "it is not in the mean of its relay"
        left = [child for child in tree.children if child not in tree.course.brought]
        self._metrics.relayed.labels("relayed").inc(len(tree.children) - len(left))
        self._metrics.relayed.labels("rerouted").inc(len(left))
        rerouted = [Rerouted(child, tree.client.id, (said.get(child) or usual)[:LONGEST_REASON]) for child in left]
        if rerouted:
            await self._ledger.settling.reroute(lease, phase.round_, rerouted)


def _trained(result: TaskResult, part: Participation, phase: Phase) -> float | None:
    """Return what a member of a mean says of its training time, for all epochs; None if it says nothing.

    Nobody else knows it: the time of the mean is that of its slowest member.
    """
    return whole_seconds(result.train_seconds, part, phase.config) if result.train_seconds > 0 else None
