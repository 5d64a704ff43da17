"""A client's track record: what rounds teach of it, and the permits that its breaker gives for them."""

from dataclasses import replace

from app.clock import Clock
from app.domain.clients import Client
from app.domain.rounds import Participation
from app.services.breakers import Breakers
from app.services.dispatch import TaskRun
from app.store.transaction import Transaction


class TrackRecord:
    """Writes to clients' rows within the ledger's transactions."""

    def __init__(self, clock: Clock, breakers: Breakers) -> None:
        self._clock = clock
        self._breakers = breakers

    async def learn(self, tx: Transaction, part: Participation, run: TaskRun) -> None:
        """Fold a settled participation into the moving averages and the breaker; nothing for a removed client."""
        came = part.status == "received"
        for client in await tx.clients.lock([part.client_id]):
            learned = replace(
                client.observed(
                    reliability=1.0 if came else 0.0,
                    train_seconds=run.train_seconds if came else None,
                    bandwidth=run.bandwidth,
                    last_update_quality=run.quality if came else None,
                ),
                rounds_completed=client.rounds_completed + came,
                last_seen_at=part.finished_at if came else client.last_seen_at,
                status="healthy" if came else client.status,
            )
            if came:
                learned = self._breakers.succeeded(learned, slow=run.slow)
            await tx.clients.put(learned)
            await self._breakers.note(tx, client.breaker, learned.breaker, client.id)

    async def take_permit(self, tx: Transaction, client: Client, until: float, *, forced: bool) -> None:
        """Count a locked client's task as its breaker's probe, where it has one to give; `until` in unix seconds."""
        if client.breaker.state == "closed":
            return
        now = self._clock.now()
        admitted = client.breaker.admit(now, until - now, force=forced)
        if admitted is not None:
            await tx.clients.put(replace(client, breaker=admitted))
            await self._breakers.note(tx, client.breaker, admitted, client.id)

    async def miss(self, tx: Transaction, client_id: str, *, late: bool) -> None:
        """After a task that was called off: the breaker's permit is free again, and a late client was not reliable."""
        for client in await tx.clients.lock([client_id]):
            seen = client.observed(reliability=0.0 if late else None)
            await tx.clients.put(replace(seen, breaker=client.breaker.release()))
