"""Run rounds with a fleet of which three in ten clients have a broken network: ``make chaos``.

Every agent is behind a proxy of its own (see `proxy`), whose faults change with time. Two trainings share the fleet.
The patient one waits for all clients until the deadline. The brisk one waits only a second after it has its quorum.
What the server has stored is compared with what the proxies have seen:

- Every round ends by its deadline.
- Retries stay within their budget.
- While a breaker is open, its client is not called. A half-open breaker lets one call through at a time. Health probes
  do not count, and neither does the `DELETE` that cancels the former task of a half-open client.
- Every update that counts has exactly the bytes that its agent has sent. If a bit is flipped in the middle of a tensor,
  the value is another number, which only the digest of the result shows.
- A client with a working network has no failure.
"""

import argparse
import asyncio
import contextlib
import os
import random
import re
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.domain.clients import Client
from app.store.database import Database
from app.store.events import RecordedEvent
from tcsfeel.agent import AgentHost
from tcsfeel.agent.listening import listening
from tcsfeel.agent.membership import registered
from tcsfeel.agent.registration import Member
from tests.e2e.servers import Server, server, unhandled
from tests.harnesses.databases import database_server, new_database
from tests.harnesses.history import MANY, read_history
from tests.harnesses.judgement import TASK, Outcome, blamed, judge_calls, judge_rounds, judge_updates, unusable
from tests.harnesses.proxy import Call, Weather, proxies
from tests.harnesses.wide import WideLearner

DEADLINE_SECONDS = 6.0
FIT_SECONDS = 0.1
FLOATS = 4_000
THREADS = 32
PATIENT_SHARE = 0.4  # of the rounds are those of the patient training, which take long
POLICIES: Mapping[str, Mapping[str, float]] = {
    "patient": {"deadline_seconds": DEADLINE_SECONDS, "quorum": 0.6, "grace_seconds": 60},
    "brisk": {"deadline_seconds": DEADLINE_SECONDS, "quorum": 0.5, "grace_seconds": 1},
}
ENVIRONMENT = {
    "TCSFEEL_COORDINATOR__LEASE_SECONDS": "15",
    # shorter than the deadline, so that an agent that hangs fails and is not only late
    "TCSFEEL_AGENTS__CONNECT_SECONDS": "1",
    "TCSFEEL_AGENTS__READ_SECONDS": "2.5",
    "TCSFEEL_AGENTS__POLL_SECONDS": "1",
}
LOOK_SECONDS = 0.25
_ERRORS = re.compile(r'^http_requests_total\{.*status="5xx".*\} ([0-9.e+]+)$', re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The size of a run and its faults. A run that has not ended after `patience` seconds fails."""

    agents: int = 100
    faulty: float = 0.3
    rounds: int = 50
    clients: int = 20
    evaluators: int = 20
    seed: int = 1
    spell: tuple[float, float] = (3.0, 15.0)
    patience: float = 3600.0


async def chaos(run: Run, directory: Path, database: str | None) -> Outcome:
    began = time.monotonic()
    rng = random.Random(run.seed)  # noqa: S311  (chance, not secrets)
    clients = [f"c-{number:03}" for number in range(run.agents)]
    faulty = frozenset(rng.sample(clients, round(run.faulty * run.agents)))
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (before anything runs)
    async with new_database(database, directory / "database") as url, server(directory, url, **ENVIRONMENT) as control:
        async with _fleet(clients, control, run.seed) as (made, calls):
            weather = asyncio.create_task(Weather(proxies=made, rng=rng, faulty=faulty, spell=run.spell).run())
            try:
                async with asyncio.timeout(run.patience):
                    refused = await _train(control, run)
            finally:
                weather.cancel()
                await asyncio.wait([weather])
            for proxy in made.values():
                await proxy.set_mode("pass")
        status = control.stop()
        history = await read_history(url)
        known, events = await _stored(url)
    outcome = Outcome(history=history, calls=calls, events=events)
    outcome.problems += [f"{count} times {answer}" for answer, count in refused.items()]
    if status not in {0, -signal.SIGTERM}:  # uvicorn sends the signal that has stopped it to itself again
        outcome.problems.append(f"the server ended with status {status}")
    outcome.problems += [f"log: {line}" for line in unhandled(control.log)]
    rounds = [round_ for story in history.stories.values() for round_ in story.rounds.values()]
    judge_rounds(outcome, rounds)
    judge_calls(outcome)
    judge_updates(outcome, rounds)
    outcome.problems += blamed(known, events, faulty)
    outcome.problems += unusable(history, directory / "data" / "models")
    outcome.seconds = time.monotonic() - began
    return outcome


@asynccontextmanager
async def _fleet(clients: Sequence[str], control: Server, seed: int) -> AsyncIterator[tuple[Any, list[Call]]]:
    """Run agents that are registered with the URLs of their proxies."""
    host = AgentHost(threads=THREADS)
    agents = {
        client_id: host.add(
            client_id, WideLearner(number, seconds=FIT_SECONDS, floats=FLOATS), token=secrets.token_urlsafe(16)
        )
        for number, client_id in enumerate(clients)
    }
    async with listening(host, "127.0.0.1", 0) as url:
        upstream = ("127.0.0.1", int(url.rpartition(":")[2]))
        async with proxies(clients, upstream, seed) as (made, calls):
            members = [
                Member(name, f"http://127.0.0.1:{made[name].port}{host.path(name)}", agent.token, agent.trainer)
                for name, agent in agents.items()
            ]
            try:
                async with registered(members, control.url, control.key, heartbeat_seconds=10):
                    yield made, calls
            finally:
                host.close()


async def _train(control: Server, run: Run) -> Counter[str]:
    """Run both trainings to their ends while users read the API, and count the answers that they should not get."""
    refused: Counter[str] = Counter()
    patient = max(1, round(PATIENT_SHARE * run.rounds))
    async with control.api() as http:

        async def call(method: str, path: str, **request: Any) -> Any:
            response = await http.request(method, path, **request)
            if not response.is_success:
                refused[f"{method} {path}: {response.status_code} {response.text[:200]}"] += 1
            return response.json() if response.headers.get("Content-Type") == "application/json" else response.text

        going = set()
        for number, (name, rounds) in enumerate({"patient": patient, "brisk": run.rounds - patient}.items()):
            body = {
                "name": name,
                "max_rounds": rounds,
                "target_accuracy": 1.0,
                "seed": run.seed + number,
                "selection": {"strategy": "random", "min_clients": 1, "max_clients": run.clients},
                "evaluation": {"clients": run.evaluators},
                "round_policy": {**POLICIES[name], "max_failed_rounds": 1_000_000},
            }
            training = await call("POST", "/v1/trainings", json=body)
            going.add(f"/v1/trainings/{training['id']}")
        for path in going:
            await call("POST", f"{path}/start")
        while going:
            going = {path for path in going if (await call("GET", path))["status"] == "running"}
            await call("GET", "/v1/clients")
            await call("GET", "/readyz")
            metrics = await call("GET", "/metrics")
            await asyncio.sleep(LOOK_SECONDS)
        if errors := _ERRORS.findall(metrics):
            refused[f"answers of the kind 5xx by the server's own count: {errors}"] += 1
    return refused


async def _stored(url: str) -> tuple[list[Client], list[RecordedEvent]]:
    db = Database(url, pool_size=1)
    try:
        async with db.read() as tx:
            return await tx.clients.all(), (await tx.events.after(0, limit=MANY)).items
    finally:
        await db.dispose()


def report(outcome: Outcome, run: Run, database: str, found: Sequence[str]) -> str:
    """Return the last line of the report."""
    rounds = [round_ for story in outcome.history.stories.values() for round_ in story.rounds.values()]
    ends = Counter(round_.status for round_ in rounds)
    parts = Counter(part.status for round_ in rounds for part in round_.participations)
    opened = sum(event.type == "breaker.open" for event in outcome.events)
    modes = Counter(call.mode for call in outcome.calls)
    tasks = {task[1] for call in outcome.calls if call.method == "PUT" and (task := TASK.match(call.path))}
    puts = sum(call.method == "PUT" for call in outcome.calls)
    return (
        f"chaos on {database}: {run.agents} agents, {run.faulty:.0%} faulty, {len(rounds)} rounds "
        f"({ends['completed']} completed, {ends['abandoned']} abandoned) in {outcome.seconds:.0f} s; "
        f"at the latest {outcome.late:+.2f} s from the deadline; {outcome.attempts} attempts / "
        f"{outcome.first_tries} first tries = {outcome.ratio:.3f}, {puts} hand-overs of {len(tasks)} tasks at the "
        f"proxies; "
        f"updates: {', '.join(f'{count} {status}' for status, count in sorted(parts.items()))}; "
        f"{opened} breakers opened, {outcome.probes} probes; {outcome.corrupted} results corrupted, "
        f"of which {outcome.taken} were averaged in; calls: "
        f"{', '.join(f'{count} {mode}' for mode, count in sorted(modes.items()))}; load {os.getloadavg()[0]:.1f}; "
        f"{'ok' if not found else f'{len(found)} PROBLEMS'}"
    )


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new directory for logs and files, instead of a temporary one")
    given = parser.parse_args()
    run = Run(agents=given.agents, rounds=given.rounds, seed=given.seed)
    with database_server(given.database) as url, contextlib.ExitStack() as stack:
        directory = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-chaos-")))
        outcome = await chaos(run, directory, url)
    found = outcome.problems
    if outcome.ratio > 1.2:
        found.append(f"{outcome.attempts} attempts are more than 1.2 x {outcome.first_tries} first tries")
    for problem in found[:50]:
        print(f"  {problem}")
    print(report(outcome, run, given.database, found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
