"""What operators and their machines ask."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.services.fleet.census import Census
from app.services.fleet.clients import Clients
from app.services.fleet.inquiries import Inquiry
from app.settings import HealthSettings
from app.store import migrations
from app.store.database import Database
from app.store.transaction import Transaction
from tests.api import Api, caller, running_api
from tests.services.fakes import TOKENS
from tests.silence import silence


def samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        yield from ((sample.labels, sample.value) for sample in family.samples if sample.name == name)


async def test_healthz_says_that_the_process_is_up(sqlite_api: Api) -> None:
    response = await sqlite_api.anonymous.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_readyz_names_every_check(api: Api) -> None:
    response = await api.anonymous.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "checks": {"database": "ok", "coordinator": "ok", "storage": "ok"}}


async def test_a_database_without_its_migrations_is_not_ready(api: Api) -> None:
    async with api.system.db.begin() as tx:
        await _forget_migrations(tx)
    response = await api.anonymous.get("/readyz")
    assert response.status_code == 503
    checks = {"database": "migrations are missing: run `tcsfeel migrate`", "coordinator": "ok", "storage": "ok"}
    assert response.json() == {"status": "not ready", "checks": checks}


async def _forget_migrations(tx: Transaction) -> None:
    await tx.connection.exec_driver_sql("DELETE FROM alembic_version")


async def test_metrics_count_clients_breakers_and_requests(api: Api) -> None:
    await api.register("edge-7", "edge-8", "edge-9")
    await api.http.post("/v1/clients/edge-7/breaker/open")
    async with api.system.db.begin() as tx:
        await tx.clients.put(replace(await tx.clients.get("edge-8"), status="down"))
    response = await api.anonymous.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    by_status = {labels["status"]: value for labels, value in samples(response.text, "federated_clients")}
    assert by_status == {"healthy": 2, "suspect": 0, "down": 1}
    assert list(samples(response.text, "federated_open_breakers")) == [({}, 1)]
    requests = {(labels["handler"], labels["method"]) for labels, _ in samples(response.text, "http_requests_total")}
    assert requests == {("/v1/clients/batch", "POST"), ("/v1/clients/{client_id}/breaker/open", "POST")}


async def test_no_request_can_invent_a_label(sqlite_api: Api) -> None:
    for method, path in [
        ("GET", "/v1/clients/invented"),
        ("GET", "/invented"),
        ("INVENTED", "/v1/clients"),
        ("PUT", "/x"),
    ]:
        await sqlite_api.http.request(method, path)
    text = (await sqlite_api.anonymous.get("/metrics")).text
    assert "invented" not in text.lower()
    counted = {(labels["method"], labels["handler"]) for labels, _ in samples(text, "http_requests_total")}
    assert counted == {
        ("GET", "/v1/clients/{client_id}"),
        ("GET", "none"),
        ("OTHER", "/v1/clients"),
        ("PUT", "none"),
    }


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"])
async def test_operations_ask_for_no_key(sqlite_api: Api, path: str) -> None:
    assert (await sqlite_api.anonymous.get(path)).status_code == 200


def _break(database: Path) -> None:
    """Put a directory in the place of the file."""
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    database.mkdir()


async def test_without_a_database_the_process_is_up_but_not_ready(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url) as api:
        await api.system.db.dispose()
        _break(Path(sqlite_url.removeprefix("sqlite+aiosqlite:///")))
        async with caller(api.app) as http:
            assert (await http.get("/healthz")).status_code == 200
            response = await http.get("/readyz")
            assert response.status_code == 503
            assert response.json()["checks"]["database"] == "does not answer"


async def test_a_database_that_says_nothing_holds_neither_probes_nor_scrapes_up(api: Api) -> None:
    await api.register("edge-7")
    assert (await api.anonymous.get("/metrics")).status_code == 200  # counts the client
    async with silence() as mute:
        mute_db = Database(mute.url)
        api.app.state.system = replace(
            api.system,
            schema=Inquiry(migrations.SchemaCheck(mute_db).obstacle, seconds=0.05),
            census=Census(
                Clients(mute_db, api.clock, api.system.metrics, HealthSettings(), TOKENS, keys=api.system.keys),
                api.system.metrics,
                seconds=0.05,
            ),
        )
        for _ in range(5):
            ready, scrape, health = [await api.anonymous.get(path) for path in ("/readyz", "/metrics", "/healthz")]
            assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "does not answer")
            assert (scrape.status_code, health.status_code) == (200, 200)
            assert next(samples(scrape.text, "federated_clients")) == ({"status": "healthy"}, 1)
            assert next(samples(scrape.text, "federated_counts_age_seconds"))[1] > 0
        assert len(mute.callers) == 2  # one for each question, however often it is asked
        api.app.state.system.schema.close()
        api.app.state.system.census.close()
        await mute_db.dispose()
