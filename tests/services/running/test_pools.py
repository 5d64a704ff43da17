"""Rounds go on while the API has taken every connection that it may have, and after Postgres was silent.

Covers: app.services.running.coordinator
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from app.main import create_app
from app.services.readiness import readiness
from app.services.system import System
from app.store.database import Database
from tests.api import AUTHORIZED, KEY, assert_problem, caller
from tests.links import link
from tests.planes import Adder, plane, settings, until

pytestmark = pytest.mark.untraced

POSTGRES: dict[str, Any] = {"pool_size": 2, "coordinator_pool_size": 2, "statement_seconds": 3.0}


async def test_requests_that_hold_every_connection_of_the_api_stop_no_round(postgres_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, postgres_url, {"a": Adder()}, database={"url": postgres_url} | POSTGRES) as running:
        training_id = await running.create(max_rounds=1)
        await running.system.trainings.start(training_id)
        async with AsyncExitStack() as requests:
            for _ in range(POSTGRES["pool_size"]):
                tx = await requests.enter_async_context(running.system.db.begin())
                await tx.clients.ids()
            await running.drive()
            await until(lambda: ended(running.system.coordinator_db, training_id))
        assert (await running.round(training_id, 1)).status == "completed"


async def ended(db: Database, training_id: str) -> bool:
    async with db.read() as tx:
        return (await tx.trainings.get(training_id)).status == "completed"


async def test_a_request_without_a_connection_is_told_to_come_again(postgres_url: str, tmp_path: Path) -> None:
    given = settings(tmp_path, postgres_url, auth={"admin_key": KEY}, database={"url": postgres_url} | POSTGRES)
    app = create_app(given)
    async with app.router.lifespan_context(app), caller(app, headers=AUTHORIZED) as http, AsyncExitStack() as requests:
        for _ in range(POSTGRES["pool_size"]):
            tx = await requests.enter_async_context(app.state.system.db.begin())
            await tx.clients.ids()
        answers: list[httpx2.Response] = await asyncio.gather(*(http.get("/v1/clients") for _ in range(5)))
        for answer in answers:
            assert_problem(answer, 503)
            assert int(answer.headers["Retry-After"]) > 0
        await requests.aclose()
        assert (await http.get("/v1/clients")).status_code == 200
        shown = (await http.get("/metrics")).text
        labels = {"pool": "api", "reason": "busy"}
        refused = app.state.system.metrics.registry.get_sample_value("federated_database_refusals_total", labels)
        assert refused >= 5, "the calls, and loops of the server that wanted a connection meanwhile"
        assert 'federated_database_connections{pool="coordinator",state="in_use"}' in shown


async def test_a_coordinator_outlasts_a_database_that_is_silent(postgres_url: str, tmp_path: Path) -> None:
    async with link(postgres_url) as (way, url):
        database = {"url": url} | POSTGRES
        async with plane(tmp_path, postgres_url, {"a": Adder()}, database=database) as running:
            ticking = asyncio.create_task(running.system.coordinator.run())
            training_id = await running.create(max_rounds=1)
            with capture_logs() as logs:
                way.fall_silent()
                await until(lambda: finds(running.system, "does not answer"))
                assert running.system.coordinator.outage_seconds > 0
                assert (await readiness(running.system))["database"] == "does not answer"
                way.recover()
                await until(lambda: finds(running.system, None))
                assert running.system.coordinator.outage_seconds == 0
            assert told(logs, "the database does not answer")
            assert told(logs, "the database answers again")
            await running.system.trainings.start(training_id)
            assert (await running.ended(training_id, 1)).status == "completed"
            ticking.cancel()
            await asyncio.wait([ticking])


async def test_a_stop_while_the_database_is_silent_ends(postgres_url: str, tmp_path: Path) -> None:
    async with link(postgres_url) as (way, url), asyncio.timeout(30):
        trainer = Adder()
        trainer.open.clear()
        async with plane(tmp_path, postgres_url, {"a": trainer}, database={"url": url} | POSTGRES) as running:
            training_id = await running.create(max_rounds=1)
            await running.system.trainings.start(training_id)
            await running.drive()
            await until(lambda: begun(trainer))
            way.fall_silent()
            trainer.open.set()


async def finds(system: System, finding: str | None) -> bool:
    return system.coordinator.finding == finding


async def begun(trainer: Adder) -> bool:
    return bool(trainer.fitted)


def told(logs: Sequence[Mapping[str, Any]], event: str) -> bool:
    return event in [entry["event"] for entry in logs]
