"""Run rounds while readers and webhooks follow the events, measure what that costs, and kill who serves them."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.store.database import Database
from app.store.tables import events
from tests.harnesses.api import Api
from tests.harnesses.databases import new_database
from tests.harnesses.readers.fleet import Fleet, present
from tests.harnesses.readers.following import Reader, Receiver
from tests.harnesses.readers.judgement import Outcome, judge, sent
from tests.harnesses.replicas import Replica, Replicas, running
from tests.harnesses.takeover import Watch

LOOK_SECONDS = 0.05
PATIENCE = 120.0  # for machines that are busy with something else
QUIET_SECONDS = 1.0  # without an event, after which a training that was cancelled has written all


@dataclass(frozen=True, kw_only=True)
class Run:
    """The size of a run. `windows` of `rounds` rounds without readers are compared with as many with them."""

    readers: int = 200
    webhooks: int = 5
    replicas: int = 2
    clients: int = 20
    evaluators: int = 5
    fit_seconds: float = 0.5
    rounds: int = 15
    windows: int = 3
    kills: int = 6
    lease_seconds: float = 3.0
    seed: int = 1


class Audience:
    """The readers and webhooks of a run, which come and go together."""

    def __init__(self, api: Api, readers: Sequence[Reader], receivers: Sequence[Receiver]) -> None:
        self._api = api
        self._hooks: list[str] = []
        self.readers = readers
        self.receivers = receivers

    async def subscribe(self) -> None:
        """Make a webhook for each receiver, which gets all events from now on."""
        for number, receiver in enumerate(self.receivers):
            body = {"name": f"receiver {number}", "url": f"http://127.0.0.1:{receiver.port}/hook"}
            made = await self._api.call("POST", "/v1/webhooks", json=body)
            receiver.secret = made["secret"]
            self._hooks.append(made["id"])

    @asynccontextmanager
    async def present(self) -> AsyncIterator[None]:
        """Let everybody follow in the block: readers from where they were, and the webhooks too."""
        await self._switch(on=True)
        following = [asyncio.create_task(reader.run()) for reader in self.readers]
        try:
            yield
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            await self._switch(on=False)

    async def connected(self) -> None:
        """Wait until every reader follows a server."""
        await _until(lambda: all(reader.connected_to is not None for reader in self.readers), "a reader has no stream")

    async def up_to(self, newest: int, newest_sent: int) -> None:
        """Wait until everybody has the newest event, and the webhooks the newest one that is sent."""
        await _until(
            lambda: (
                all(reader.ids and reader.ids[-1] >= newest for reader in self.readers)
                and all(receiver.came and max(receiver.came) >= newest_sent for receiver in self.receivers)
            ),
            "somebody waits for an event",
        )

    async def _switch(self, *, on: bool) -> None:
        for hook in self._hooks:
            await self._api.call("PATCH", f"/v1/webhooks/{hook}", json={"enabled": on})


@dataclass(frozen=True, slots=True)
class Stage:
    """What a run needs: the replicas, their database, and the training that runs."""

    replicas: Replicas
    api: Api
    db: Database
    training: str

    async def log(self) -> list[tuple[int, str]]:
        """Read the id and the type of every event."""
        async with self.db.read() as tx:
            rows = await tx.connection.execute(select(events.c.id, events.c.type).order_by(events.c.id))
            return [(row.id, row.type) for row in rows]

    async def caught_up(self, audience: Audience) -> None:
        log = await self.log()
        await audience.up_to(log[-1][0], max(sent(log)))

    async def current_round(self) -> int:
        return int((await self.api.call("GET", f"/v1/trainings/{self.training}"))["current_round"])

    async def window(self, rounds: int) -> tuple[float, float]:
        """Let some rounds pass. Returns the mean seconds of a round, and the CPU seconds of all replicas in it."""
        first = await self.begun(await self.current_round() + 1)
        cpu = _cpu_seconds(self.replicas)
        await self.begun(first + rounds)
        spent = _cpu_seconds(self.replicas) - cpu
        async with self.db.read() as tx:
            begun = [(await tx.rounds.head(self.training, number)).started_at for number in (first, first + rounds)]
        return (begun[1] - begun[0]) / rounds, spent / rounds

    async def begun(self, number: int) -> int:
        while await self.current_round() < number:  # noqa: ASYNC110  (a round rings no bell)
            await asyncio.sleep(LOOK_SECONDS)
        return number


async def follow(run: Run, directory: Path, server: str | None) -> Outcome:
    """Run it on a database of a Postgres `server`, or on SQLite, where there is one replica."""
    outcome = Outcome()
    environment = {
        "TCSFEEL_COORDINATOR__LEASE_SECONDS": str(run.lease_seconds),
        "TCSFEEL_COORDINATOR__TICK_SECONDS": "0.2",
        "TCSFEEL_WEBHOOKS__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
    }
    count = 1 if server is None else run.replicas
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(new_database(server, directory / "database"))
        replicas = Replicas(directory / "replicas", url, count=count, environment=environment)
        api = await stack.enter_async_context(running(replicas))
        receivers = [await stack.enter_async_context(Receiver()) for _ in range(run.webhooks)]
        ports = [replica.port for replica in replicas.all]
        readers = [Reader(ports, replicas.key, turn) for turn in range(run.readers)]
        audience = Audience(api, readers, receivers)
        db = Database(url, pool_size=1)
        stack.push_async_callback(db.dispose)
        await audience.subscribe()  # before anything happens
        fleet = Fleet(
            agents=run.clients,
            fit_seconds=run.fit_seconds,
            server_url=f"http://127.0.0.1:{replicas.all[0].port}",
            key=replicas.key,
            log=directory / "agents.log",
        )
        await stack.enter_async_context(present(fleet, api))
        stage = Stage(replicas, api, db, await _start(api, run))
        await _compare(run, stage, audience, outcome)
        judge(await _kill(run, stage, audience, outcome), readers, receivers, outcome)
        outcome.problems += replicas.unhandled()
    return outcome


async def _start(api: Api, run: Run) -> str:
    body = {
        "name": "readers",
        "max_rounds": 1_000_000,
        "target_accuracy": 1.0,
        "selection": {"strategy": "random", "min_clients": run.clients, "max_clients": run.clients},
        "evaluation": {"clients": run.evaluators},
        "round_policy": {"quorum": 1.0},
    }
    made = await api.call("POST", "/v1/trainings", json=body, headers={"Idempotency-Key": "readers"})
    await api.call("POST", f"/v1/trainings/{made['id']}/start", also=409)
    return str(made["id"])


async def _compare(run: Run, stage: Stage, audience: Audience, outcome: Outcome) -> None:
    """Measure rounds without and with readers, in turns, so that what else happens on the machine meets both."""
    for _ in range(run.windows):
        outcome.without.append(await stage.window(run.rounds))
        _tell("without readers", *outcome.without[-1])
        async with audience.present():
            await audience.connected()
            await stage.caught_up(audience)
            outcome.with_readers.append(await stage.window(run.rounds))
            _tell("with readers", *outcome.with_readers[-1])


def _tell(window: str, seconds: float, cpu: float) -> None:
    print(f"  a round took {seconds:.3f} s and {cpu:.3f} CPU s {window}", flush=True)


async def _kill(run: Run, stage: Stage, audience: Audience, outcome: Outcome) -> list[tuple[int, str]]:
    """Kill the replica that drives the training, again and again, and let everybody see the last event.

    Returns the log that everybody should have.
    """
    rng = random.Random(run.seed)  # noqa: S311  (chance, not secrets)
    watch = Watch(stage.db, stage.training, run.lease_seconds)
    async with audience.present():
        for _ in range(run.kills):
            await audience.connected()
            await stage.begun(await stage.current_round() + 1)
            await asyncio.sleep(rng.uniform(0, 2 * run.fit_seconds))
            owner = await watch.owner()
            replica = None if owner is None else _replica(stage.replicas, owner.name)
            if owner is not None and replica is not None and replica.signal(signal.SIGKILL):
                outcome.kills += 1
                await watch.owner_after(owner.fence)
                print(f"  {outcome.kills} of {run.kills} killed", flush=True)
        await stage.begun(await stage.current_round() + 1)
        await stage.api.call("POST", f"/v1/trainings/{stage.training}/cancel", also=409)
        await _quiet(stage.log)
        log = await stage.log()
        try:
            await audience.up_to(log[-1][0], max(sent(log)))
        except TimeoutError as error:
            outcome.problems.append(str(error))
        return log


def _replica(replicas: Replicas, owner: str) -> Replica | None:
    return next((replica for replica in replicas.all if replica.alive and owner.startswith(replica.name)), None)


async def _quiet(log: Callable[[], Awaitable[list[Any]]]) -> None:
    """Wait until no event is written any more."""
    known = -1
    while known != (known := len(await log())):  # noqa: ASYNC110  (nor does a log that is quiet)
        await asyncio.sleep(QUIET_SECONDS)


async def _until(holds: Callable[[], bool], problem: str) -> None:
    """Wait until something holds. Raises `TimeoutError`, which names the `problem`."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not holds():  # noqa: ASYNC110  (those who follow ring no bell)
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"{problem} after {PATIENCE:g} s") from None


def _cpu_seconds(replicas: Replicas) -> float:
    """Return the CPU seconds of the replicas' present processes; NaN where the system does not tell them."""
    spent = 0.0
    for replica in replicas.all:
        try:
            fields = Path(f"/proc/{replica.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("nan")
        spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent
