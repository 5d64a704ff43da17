"""Run calm times and attacks in turn, and measure each of them.

Several groups of clients share the server. `q-` is the quiet fleet, which only trains, and whose rounds are timed. `h-`
are agents that are hostile when they train, together with a few honest ones (`h-honest-…`) in one training. `e-` are
hostile when they evaluate, `m-` when they are asked for a first model, and `p-` when they are probed. `s-` are devices
with keys whose signatures are wrong, and again a few honest ones.

The *floor* is the same run with a second server that is attacked in place of the quiet fleet's server, on the same core
or on another one.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.servers import Server
from tests.harnesses.hostile import placement
from tests.harnesses.hostile.afterwards import PAGE, emptied, items, unexplained
from tests.harnesses.hostile.calling import call
from tests.harnesses.hostile.enrolling import bad_keys, enrol_hostile, seed_of
from tests.harnesses.hostile.fleets import (
    FLOATS,
    QUIET,
    Means,
    attacked,
    callers,
    good_caller,
    honest_fleet,
    hostile_agents,
    quiet_fleet,
    register,
    remove,
    train,
)
from tests.harnesses.hostile.outcome import Outcome, Period, Run, Sample
from tests.harnesses.hostile.shifts import agents_of, callers_of
from tests.harnesses.hostile.watched import Watched, running

LOOK_SECONDS = 0.25
EXPLAINED = {"fit", "evaluate", "signed"}  # the attacked trainings whose models have to be those of honest agents
REST_SECONDS = 2.0  # between two times that are measured


async def attack(run: Run, directory: Path, database: str | None) -> Outcome:
    """Run everything on one database."""
    outcome = Outcome()
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (before anything runs)
    try:
        async with AsyncExitStack() as stack:
            server = target = await stack.enter_async_context(
                running(directory, database, run.core, outcome, apart=run.apart)
            )
            if run.floor is not None:
                core, nice = (run.core, 0) if run.floor == "same-core" else (None, placement.BESIDE)
                other = running(directory / "other", database, core, Outcome(), nice=nice)
                target = await stack.enter_async_context(other)
            await stack.enter_async_context(quiet_fleet(server, directory))
            target.honest = await stack.enter_async_context(honest_fleet(target, directory / "honest"))
            await _run(run, server, target, outcome, directory)
    except (httpx2.TransportError, OSError) as error:
        outcome.gone = f"{type(error).__name__}: {error}"
    return outcome


async def _run(run: Run, server: Watched, target: Watched, outcome: Outcome, directory: Path) -> None:
    asked = directory / "asked"
    async with server.api() as api, target.api() as attacked_api:
        quiet = await train(api, "quiet", "q", QUIET, FLOATS, evaluation={"clients": 0}, max_rounds=1_000_000)
        viewer = await call(api, "POST", "/v1/keys", json={"name": "a good caller", "role": "viewer"})
        watching = asyncio.create_task(_sample(server, outcome))
        try:
            async with good_caller(server, viewer["key"], asked), hostile_agents(directory) as port:
                await _in_turn(run, server, target, port, outcome)
            outcome.quiet = await _rounds(api, quiet)
            await api.post(f"/v1/trainings/{quiet}/cancel")  # which ends the open round, with what was received in it
            outcome.left = await emptied(server.left) + await emptied(target.left)
            outcome.audit = await items(attacked_api, "/v1/audit", limit=PAGE)
        finally:
            watching.cancel()
            await asyncio.wait([watching])
    outcome.asked = [(float(at), float(seconds)) for at, seconds in map(str.split, asked.read_text().splitlines())]
    hostile = [period for period in outcome.periods if period.hostile]
    outcome.holds = sorted((hold for period in hostile for hold in server.holds(period)), reverse=True)
    samples = [f"{sample.at:.2f} {sample.memory} {sample.disk} {sample.descriptors}" for sample in outcome.samples]
    server.log.with_name("samples").write_text("\n".join(samples))


async def _in_turn(run: Run, server: Watched, target: Watched, port: int, outcome: Outcome) -> None:
    """Let calm times and attacks take turns. The hostile agents serve on a port."""
    enrolled: set[str] = set()
    await asyncio.sleep(REST_SECONDS)
    async with target.api() as api:
        for number in range(run.periods):
            async with _measured(server, outcome, hostile=False):
                await asyncio.sleep(run.calm)
            agents = agents_of(number, run.shifts)
            names = callers_of(number, run.shifts, run.callers)
            outcome.at_once.append(len(agents) + len(names))
            of_agents = await enrol_hostile(api, number, agents, enrolled)
            await register(api, port, target.honest, agents)
            keys = await bad_keys(api, of_agents, number) | {"seed of the server": seed_of(target, target.data)}
            seen = server.log.with_name(f"seen-{number}.json")
            async with (
                _attacked(api, names, target, outcome, Means(keys, target.honest, agents, seen)),
                _measured(server, outcome, hostile=True),
            ):
                await asyncio.sleep(run.attack / run.periods)
            outcome.note(seen)
            outcome.clients += await items(api, "/v1/clients", limit=PAGE)
            await remove(api, agents)
            await asyncio.sleep(REST_SECONDS)
        async with _measured(server, outcome, hostile=False):
            await asyncio.sleep(run.calm)


@asynccontextmanager
async def _measured(server: Watched, outcome: Outcome, *, hostile: bool) -> AsyncIterator[None]:
    start, processor = time.time(), server.processor()
    yield
    period = Period(hostile, start, time.time(), server.processor() - processor, placement.load())
    outcome.periods.append(period)


@asynccontextmanager
async def _attacked(
    api: httpx2.AsyncClient, names: list[str], target: Server, outcome: Outcome, means: Means
) -> AsyncIterator[None]:
    """Attack in the block. After it, the file has what the callers saw."""
    trainings = await attacked(api)
    async with callers(names, target, means, trainings):
        looking = asyncio.create_task(_look(target, outcome))
        yield
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    for name, training in trainings.items():
        await api.post(f"/v1/trainings/{training}/cancel")
        rounds = await _rounds(api, training)
        outcome.rounds.setdefault(name, []).extend(rounds)
        if name in EXPLAINED:
            outcome.unexplained += await unexplained(api, name, training, rounds)


async def _look(server: Server, outcome: Outcome) -> None:
    """Check the server like an operator, with a new connection each time."""
    while True:
        began = time.monotonic()
        try:
            async with httpx2.AsyncClient(timeout=30.0, trust_env=False) as http:
                await http.get(f"{server.url}/healthz")
                outcome.health.append(time.monotonic() - began)
                key = {"Authorization": f"Bearer {server.key}"}
                beaten = await http.post(f"{server.url}/v1/clients/q-0/heartbeat", headers=key, json={})
            if beaten.status_code != HTTPStatus.NO_CONTENT:
                outcome.refused.append(beaten.status_code)
        except httpx2.TransportError:
            outcome.health.append(float("inf"))
        await asyncio.sleep(1.0)


async def _sample(server: Watched, outcome: Outcome) -> None:
    while True:
        disk = await asyncio.to_thread(server.disk)
        outcome.samples.append(Sample(time.time(), server.memory(), disk, server.descriptors()))
        await asyncio.sleep(LOOK_SECONDS)


async def _rounds(api: httpx2.AsyncClient, training: str) -> list[dict[str, Any]]:
    """Return all rounds of a training, oldest first."""
    return (await items(api, f"/v1/trainings/{training}/rounds", limit=100))[::-1]
