"""Keep the track record of clients: what is measured in rounds, and the permits that breakers give for them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from app.clock import Clock
from app.domain.clients import Client
from app.domain.evaluations import NOTHING_HELD_OUT
from app.domain.failures import Failure
from app.domain.lateness import missed
from app.domain.rounds import Participation, Round
from app.domain.tasks import Observation, learned
from app.services.fleet.roster import LatestRoster
from app.services.rounds.past import PastRounds
from app.services.tasks.breakers import Breakers
from app.store.transaction import Transaction
from tcsfeel.selection.fairness import jain_index


class TrackRecord:
    """Writes to clients' rows within the ledger's transactions."""

    def __init__(self, clock: Clock, breakers: Breakers, past: PastRounds, roster: LatestRoster) -> None:
        self._clock = clock
        self._breakers = breakers
        self._past = past
        self._roster = roster

    async def learn(
        self, tx: Transaction, training_id: str, settled: Mapping[str, tuple[Participation, Observation]]
    ) -> dict[str, tuple[float, ...]]:
        """Update sketches, moving averages and breakers from participations, by client. Returns the new sketches.

        For a removed client only the sketches are updated.
        """
        sketches = {client_id: seen.sketch for client_id, (_, seen) in settled.items() if seen.sketch is not None}
        means = await tx.sketches.fold(training_id, sketches)
        known = await tx.clients.lock(settled.keys())
        changed = [self._learned(client, *settled[client.id]) for client in known]
        await tx.clients.put(*changed)
        for before, after in zip(known, changed, strict=True):
            await self._breakers.note(tx, before.breaker, after.breaker, after.id)
        for relay, (_, seen) in settled.items():
            if seen.links:
                await tx.links.observe(relay, seen.links, self._clock.now())
        return means

    async def evaluated(self, tx: Transaction, ended: Mapping[str, tuple[Participation, Observation]]) -> None:
        """Count wrong evaluations, and note those that were right after a failure, and clients without examples."""
        telling = {
            client_id: (one, seen)
            for client_id, (one, seen) in ended.items()
            if seen.faulty or one.status == "received" or one.reason == NOTHING_HELD_OUT
        }
        known = await tx.clients.lock(telling.keys())
        pairs = [(client, self._after_evaluation(client, *telling[client.id])) for client in known]
        await tx.clients.put(*(after for before, after in pairs if after != before))
        for before, after in pairs:
            await self._breakers.note(tx, before.breaker, after.breaker, after.id)

    async def selected(
        self, tx: Transaction, clients: Sequence[Client], until: float, *, forced: Collection[str]
    ) -> None:
        """Count one more round for clients, and count their tasks as probes of breakers that are not closed.

        The transaction has locked the clients. A probe ends at `until`, in unix seconds. Breakers of clients in
        `forced` give a permit before their time.
        """
        unsound = [client for client in clients if client.breaker.state != "closed"]
        await self._breakers.take_permits(tx, unsound, until - self._clock.now(), forced=forced)
        await tx.clients.count_selected([client.id for client in clients])

    async def miss(self, tx: Transaction, late: Mapping[str, bool]) -> None:
        """Record cancelled tasks, by client: breakers get permits back, and `late` clients count as unreliable."""
        before = await tx.clients.lock(late.keys())
        after = [missed(client, late=late[client.id]) for client in before]
        await tx.clients.put(*(seen for client, seen in zip(before, after, strict=True) if seen != client))

    async def take_back(self, tx: Transaction, round_: Round, reasons: Mapping[str, str]) -> None:
        """Take back the credit that clients got for updates that were rejected afterwards, and count failures.

        If the mean of a relay was rejected, that is no failure of the clients below it.
        """
        before = await tx.clients.lock(reasons.keys())
        relayed = {part.client_id for part in round_.participations if part.relay is not None}
        after = [
            client.withdrawn() if client.id in relayed else self._taken_back(client, round_, reasons[client.id])
            for client in before
        ]
        await tx.clients.put(*after)
        for client, failed in zip(before, after, strict=True):
            await self._breakers.note(tx, client.breaker, failed.breaker, client.id)

    async def fairness(self, tx: Transaction, round_: Round) -> float:
        """Return Jain's index over the registered clients' numbers of used updates, including this round.

        The clients are those that this process knew when it last planned a round, or else they are read.
        """
        counts = Counter((await self._past.before(tx, round_.training_id, round_.number)).received)
        counts.update(part.client_id for part in round_.participations if part.status == "received")
        known = self._roster.known
        registered = known.places if known is not None else dict.fromkeys(await tx.clients.ids())
        used = [count for client_id, count in counts.items() if client_id in registered]
        return jain_index(used, of=len(registered))

    def ended(self, round_: Round) -> None:
        """Remember a round that has ended, so that the next one need not read it."""
        self._past.ended(round_)

    def _taken_back(self, client: Client, round_: Round, reason: str) -> Client:
        failure = Failure(phase="fit", training_id=round_.training_id, round=round_.number, reason=reason)
        return self._breakers.failed(client.withdrawn().observed(reliability=0.0), failure)

    def _after_evaluation(self, client: Client, one: Participation, seen: Observation) -> Client:
        if seen.faulty:
            return replace(client, failures=client.failures.evaluated_wrongly())
        if one.status != "received":
            return client.without_held_out_data(self._clock.now())
        client = replace(client, failures=client.failures.evaluated())
        return self._breakers.succeeded(client) if client.breaker.consecutive_failures else client

    def _learned(self, client: Client, part: Participation, seen: Observation) -> Client:
        after = learned(client, part, seen)
        return self._breakers.succeeded(after, slow=seen.slow) if part.status == "received" else after
