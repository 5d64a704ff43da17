"""Store breakers: each change is read, decided by the domain and written in one transaction."""

import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import structlog

from app.clock import Clock
from app.domain.breaker import Breaker
from app.domain.clients import Client, Endpoint, Health
from app.domain.errors import NotFound
from app.domain.events.clients import BREAKERS, identity_events
from app.domain.failures import Failure
from app.metrics import Metrics
from app.store.database import Database
from app.store.leases import Fenced, Lease
from app.store.transaction import Transaction

log = structlog.get_logger(__name__)


class Breakers:
    """Records calls and their outcomes, in its own transaction or in the caller's.

    A client can be removed while its task runs; later outcomes of this task are not recorded. Calls of operators use
    the connections of `api_db`, so that they take none of those for rounds.
    """

    def __init__(
        self, db: Database, clock: Clock, metrics: Metrics, rng: random.Random, *, api_db: Database | None = None
    ) -> None:
        self._db = db
        self._api_db = api_db or db
        self._clock = clock
        self._metrics = metrics
        self._rng = rng
        self._opened: set[str] = set()

    async def look(self, client_id: str) -> Client | None:
        """Return the client as it is stored now, with its breaker and its address, or None if it was removed."""
        return (await self.look_at([client_id])).get(client_id)

    async def look_at(self, client_ids: Collection[str]) -> dict[str, Client]:
        """Return the clients as they are stored now, by id."""
        async with self._db.glance() as tx:
            return {client.id: client for client in await tx.clients.some(client_ids)}

    def seems_open(self, client_id: str) -> bool:
        """Tell whether this process opened the breaker last. Read it then, because others may have changed it."""
        return client_id in self._opened

    async def why_open(self, client_id: str) -> str:
        """Say why the calls of a running task stopped: the failure that opened the breaker, in any phase."""
        client = await self.look(client_id)
        failures = client.breaker.last_failures if client is not None and not client.breaker.isolated else ()
        return f"its breaker opened: {failures[-1]}" if failures else "its breaker opened"

    async def admit(self, client_id: str, seconds: float, *, force: bool = False) -> bool:
        """Admit one call that takes at most `seconds`, as a probe if the breaker is not closed.

        `force` is that of `Breaker.admit`. Returns False if the call must not go out.
        """
        async with self._db.begin() as tx:
            clients = await tx.clients.lock([client_id])
            return client_id in await self.take_permits(tx, clients, seconds, forced={client_id} if force else ())

    async def take_permits(
        self, tx: Transaction, clients: Sequence[Client], seconds: float, *, forced: Collection[str]
    ) -> set[str]:
        """Do `admit` for clients that the caller's transaction has locked. Returns the ids of the admitted ones.

        Those in `forced` are admitted by force.
        """
        now = self._clock.now()
        asked = [(client, client.breaker.admit(now, seconds, force=client.id in forced)) for client in clients]
        admitted = [(client, breaker) for client, breaker in asked if breaker is not None]
        changed = [(client, breaker) for client, breaker in admitted if breaker != client.breaker]
        await tx.clients.put(*(replace(client, breaker=breaker) for client, breaker in changed))
        for client, breaker in changed:
            await self.note(tx, client.breaker, breaker, client.id)
        return {client.id for client, _ in admitted}

    async def fail(
        self,
        client_id: str,
        failure: Failure,
        *,
        under: Lease | None = None,
        at: Endpoint | None = None,
        doubt: str | None = None,
    ) -> Client | None:
        """Record that a call failed. `failure` says in which phase and why, and gets its instant here.

        Returns the client as it is stored now, without its labels, or None if it was removed.

        With a `doubt` about the address `at`, it has to prove again that it belongs to the client's device.
        A call that was made `under` a lease counts only while the lease holds, because agents may have been told that
        their tasks are no longer wanted, and then answer with an error. Raises `Fenced`.
        """
        now = self._clock.now()

        def decide(client: Client) -> Client:
            after = client.failed(failure, now, self._rng)
            return after if at is None else after.identified(at, Health(alive=False, doubt=doubt), now)

        try:
            changed = await self._change(client_id, decide, under=under)
        except NotFound:
            return None
        self._metrics.client_failures.labels(failure.kind, failure.phase).inc()
        return changed

    async def succeed(self, client_id: str) -> None:
        """Record that a call succeeded."""
        now = self._clock.now()
        with contextlib.suppress(NotFound):
            await self._change(client_id, _by(lambda breaker: breaker.succeed(now, self._rng)))

    async def isolate(self, client_id: str) -> Breaker:
        """Open a breaker by hand. Raises `NotFound`."""
        now = self._clock.now()
        return (await self._change(client_id, _by(lambda breaker: breaker.isolate(now)), self._api_db)).breaker

    async def reset(self, client_id: str) -> Breaker:
        """Close a breaker by hand, and forget a row of wrong evaluations. Raises `NotFound`."""
        return (await self._change(client_id, Client.reset, self._api_db)).breaker

    async def get(self, client_id: str) -> Breaker:
        """Read a breaker. Raises `NotFound`."""
        async with self._api_db.glance() as tx:
            return (await tx.clients.get(client_id, labels=False)).breaker

    def succeeded(self, client: Client, *, slow: bool = False) -> Client:
        """Return the client after a call that succeeded, perhaps slowly."""
        return replace(client, breaker=client.breaker.succeed(self._clock.now(), self._rng, slow=slow))

    def failed(self, client: Client, failure: Failure) -> Client:
        """Return the client after a call whose result was rejected. The failure gets its instant here."""
        self._metrics.client_failures.labels(failure.kind, failure.phase).inc()
        return client.failed(failure, self._clock.now(), self._rng)

    async def note(self, tx: Transaction, before: Breaker, after: Breaker, client_id: str) -> None:
        """Report a change of state to operators, and the failure or another cause that opened a breaker."""
        if before.state == after.state:
            return
        by_failure = after.state == "open" and after.last_failures != before.last_failures
        reason = str(after.last_failures[-1]) if by_failure else after.cause if after.state == "open" else None
        (self._opened.add if after.state == "open" else self._opened.discard)(client_id)
        self._metrics.breaker_changes.labels(after.state).inc()
        changed = BREAKERS[after.state]
        await tx.events.append(changed(client_id=client_id, was=before.state, retry_at=after.retry_at, reason=reason))
        log.info("breaker", client=client_id, state=after.state, was=before.state, reason=reason)

    async def _change(
        self,
        client_id: str,
        decide: Callable[[Client], Client],
        db: Database | None = None,
        *,
        under: Lease | None = None,
    ) -> Client:
        async with (db or self._db).begin() as tx:
            if under is not None and not await tx.leases.holds(under):
                raise Fenced(under.training_id)
            client = await tx.clients.get(client_id, for_update=True, labels=False)
            changed = decide(client)
            await tx.clients.put(changed)
            await self.note(tx, client.breaker, changed.breaker, client_id)
            for event in identity_events(client, changed):
                await tx.events.append(event)
        return changed


def _by(decide: Callable[[Breaker], Breaker]) -> Callable[[Client], Client]:
    """Make a change of a client of a change of its breaker."""
    return lambda client: replace(client, breaker=decide(client.breaker))
