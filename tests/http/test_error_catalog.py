"""Errors as problem details."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from structlog.testing import capture_logs

from app.domain import errors
from app.http import catalog, problems
from app.http.bodies import TooSlow, UnsupportedMediaType
from app.http.faults import FieldProblem, field_problems
from app.memory import NoMemoryFree
from app.services.access.keys import Unauthenticated
from app.services.running.housekeeping import Housekeeper
from app.services.trainings.idempotency import KeyReused
from app.store.availability import DatabaseUnavailable
from app.store.bucket import ObjectStoreUnavailable
from app.store.database import is_outage
from app.store.model_store import FileTooLarge, StoreUnavailable
from tcsfeel import errors as refusals
from tcsfeel.inbound import Pace
from tests.api import Api, assert_problem, running_api
from tests.planes import until


def descendants(cls: type[Exception]) -> Iterator[type[Exception]]:
    for child in cls.__subclasses__():
        yield child
        yield from descendants(child)


@pytest.mark.parametrize("cls", sorted(descendants(refusals.TcsFeelError), key=str))
def test_every_error_of_the_domain_has_a_status(cls: type[Exception]) -> None:
    assert 400 <= catalog.kind_of(cls.__new__(cls)).status < 500


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (errors.NotFound("client", "x"), 404, "not-found"),
        (errors.AlreadyExists("client", ["x"]), 409, "already-exists"),
        (refusals.Invalid("/x", "is wrong"), 422, "invalid"),
        (errors.StateForbids("start", "training", "running"), 409, "state-forbids"),
        (refusals.NotEnoughClients(1, 2, 3), 409, "selection-infeasible"),
        (refusals.BudgetTooSmall(1.0, 2.0, 3), 409, "selection-infeasible"),
        (KeyReused("key"), 422, "key-reused"),
        (Unauthenticated(), 401, "unauthenticated"),
        (errors.WrongInvitation(), 401, "wrong-invitation"),
        (errors.InvitationOver("i", "expired"), 410, "invitation-over"),
        (errors.CannotEnrol("x", "it is taken"), 409, "cannot-enrol"),
        (FileTooLarge(5), 413, "too-large"),
        (DatabaseUnavailable("gone"), 503, "database-unavailable"),
        (StoreUnavailable(28, "No space left on device"), 507, "storage-unavailable"),
        (ObjectStoreUnavailable("s3://models: 503 SlowDown"), 503, "object-store-unavailable"),
        (TooSlow(Pace(30.0, 65_536.0)), 408, "too-slow"),
        (NoMemoryFree(5, "bodies"), 503, "crowded"),
        (UnsupportedMediaType("text/plain"), 415, "unsupported-media-type"),
        (catalog.RangeNotSatisfiable(5), 416, "range-not-satisfiable"),
    ],
)
def test_each_error_has_its_status_and_type(error: Exception, status: int, name: str) -> None:
    kind = catalog.kind_of(error)
    assert (kind.status, kind.name) == (status, name)


def test_a_problem_has_the_members_of_the_standard() -> None:
    kind = catalog.CATALOG[refusals.Invalid]
    field = FieldProblem(pointer="/a", detail="is wrong")
    response = problems.problem(kind, "it is wrong", [field], {"X-More": "1"})
    assert json.loads(bytes(response.body)) == {
        "type": "urn:tcsfeel:problem:invalid",
        "title": "The request is not valid",
        "status": 422,
        "detail": "it is wrong",
        "errors": [{"pointer": "/a", "detail": "is wrong"}],
    }
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-More"] == "1"


def test_what_utf_8_cannot_hold_becomes_a_question_mark() -> None:
    response = problems.problem(catalog.CATALOG[refusals.Invalid], "half a pair: \ud800")
    assert json.loads(bytes(response.body))["detail"] == "half a pair: ?"


@pytest.mark.parametrize(
    ("entry", "pointer", "detail"),
    [
        ({"type": "missing", "loc": ("body", "a"), "msg": "Field required"}, "/a", "is required"),
        ({"type": "missing", "loc": ("body",), "msg": "Field required"}, "", "is required"),
        ({"type": "x", "loc": ("body", "a/b", 3, "c~d"), "msg": "Input should be y"}, "/a~1b/3/c~0d", "should be y"),
        ({"type": "x", "loc": ("query", "limit"), "msg": "Value error, is odd"}, "/query/limit", "is odd"),
        (
            {"type": "x", "loc": ("body", "tags", "a", "[key]"), "msg": "String should be y"},
            "/tags/a",
            "has a key that should be y",
        ),
        (
            {"type": "json_invalid", "loc": ("body", 17), "msg": "JSON decode error", "ctx": {"error": "Extra data"}},
            "",
            "is not JSON: Extra data at character 17",
        ),
        (
            {"type": "too_short", "loc": ("body", "a"), "msg": "List should have 1 item after validation, not 0"},
            "/a",
            "should have 1 item, not 0",
        ),
    ],
)
def test_an_error_of_validation_is_a_pointer_and_a_sentence(entry: dict[str, Any], pointer: str, detail: str) -> None:
    (field,) = field_problems([entry])
    assert (field.pointer, field.detail) == (pointer, detail)


def test_a_hundred_errors_are_enough() -> None:
    entry = {"type": "missing", "loc": ("body", "a"), "msg": "Field required"}
    assert len(field_problems([entry] * 1000)) == 100


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/nothing", "/v1/clients/", "/v1/clients/a/b/c", "//v1/clients"]
)
async def test_a_path_that_leads_nowhere_answers_404(api: Api, path: str) -> None:
    answer = await api.http.get(f"http://127.0.0.1:8080{path}")
    assert_problem(answer, 404)
    assert answer.json()["detail"].startswith(f"there is no path {path}")
    assert answer.json()["title"] == "Not found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/clients", "GET, POST"),
        ("POST", "/v1/clients/edge-7", "DELETE, GET, PATCH, PUT"),
        ("GET", "/v1/clients/edge-7/heartbeat", "POST"),
        ("POST", "/v1/connectivity", "GET, PATCH, PUT"),
        ("PUT", "/v1/trainings", "GET, POST"),
        ("DELETE", "/v1/trainings/t/rounds/1", "GET"),
        ("POST", "/healthz", "GET, HEAD"),
        ("INVENTED", "/v1/topology", "GET"),
    ],
)
async def test_a_method_that_is_not_there_answers_405_with_those_that_are(
    api: Api, method: str, path: str, allowed: str
) -> None:
    response = await api.http.request(method, path)
    body = assert_problem(response, 405)
    assert body["detail"].endswith(f"is not allowed at this path: use {response.headers['Allow']}")
    assert response.headers["Allow"] == allowed


class Failing:
    """Clients whose store has a fault that nobody foresaw."""

    async def get(self, client_id: str) -> None:
        raise ZeroDivisionError(f"a secret about {client_id}")


async def test_what_nobody_foresaw_answers_500_and_tells_nothing(api: Api) -> None:
    failing: Any = Failing()
    api.app.state.system = replace(api.system, clients=failing)
    with capture_logs() as logged:
        response = await api.http.get("/v1/clients/edge-7", headers={"X-Request-ID": "abc"})
    problem = assert_problem(response, 500)
    assert [type(line["exc_info"]) for line in logged if line["log_level"] == "error"] == [ZeroDivisionError]
    assert "secret" not in json.dumps(problem)
    assert response.headers["X-Request-ID"] == "abc"
    assert "X-Request-ID" in problem["detail"]


def dead(url: str) -> str:
    """The address of a Postgres that is not there."""
    return make_url(url).set(port=1).render_as_string(hide_password=False)


async def has_met_an_outage(housekeeper: Housekeeper) -> bool:
    return housekeeper._outage._since is not None


async def test_a_database_that_does_not_answer_answers_503(tmp_path: Path, postgres_url: str) -> None:
    async with running_api(tmp_path / "data", dead(postgres_url)) as api:
        await until(lambda: has_met_an_outage(api.system.housekeeper))  # which says so once
        with pytest.raises(DatabaseUnavailable):
            await api.system.audit.write()  # and so does this
        for method, path, body in (
            ("GET", "/v1/clients", None),
            ("POST", "/v1/trainings", {"name": "digits"}),
        ):
            with capture_logs() as logged:
                response = await api.http.request(method, path, json=body)
            assert [line["event"] for line in logged if line["log_level"] == "error"] == [
                "the database does not answer"
            ]
            problem = assert_problem(response, 503)
            assert problem["type"] == "urn:tcsfeel:problem:database-unavailable"
            assert response.headers["Retry-After"] == "5"
        assert (await api.http.get("/readyz")).json()["checks"]["database"] == "does not answer"


async def test_a_database_that_went_away_answers_503_until_it_is_back(tmp_path: Path, postgres_url: str) -> None:
    async with running_api(tmp_path / "data", postgres_url) as api:
        await api.register("edge-7")
        async with away(postgres_url):
            with capture_logs():
                assert_problem(await api.http.get("/v1/clients"), 503)
            assert_problem(await api.http.put("/v1/clients/edge-7", json={}), 422, *REQUIRED)  # needs no database
            assert (await api.http.get("/healthz")).status_code == 200
        assert (await api.http.get("/v1/clients")).status_code == 200


REQUIRED = ("/data_size", "/compute_capacity", "/bandwidth", "/latency")


@asynccontextmanager
async def away(url: str) -> AsyncIterator[None]:
    """Cut every connection of a database and hide it under another name."""
    parts = make_url(url).set(drivername="postgresql")
    server = await asyncpg.connect(parts.set(database="postgres").render_as_string(hide_password=False))
    try:
        await server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", parts.database
        )
        await server.execute(f'ALTER DATABASE "{parts.database}" RENAME TO "{parts.database}_away"')
        yield
        await server.execute(f'ALTER DATABASE "{parts.database}_away" RENAME TO "{parts.database}"')
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (OperationalError("SELECT 1", {}, Exception("database is locked")), True),
        (DBAPIError("SELECT 1", {}, Exception("closed"), connection_invalidated=True), True),
        (DBAPIError("SELECT 1", {}, Exception("a value is wrong")), False),
    ],
)
def test_which_errors_of_the_database_pass(error: DBAPIError, outage: bool) -> None:
    assert is_outage(error) == outage


@pytest.mark.parametrize(
    ("state", "outage"),
    [("40001", True), ("40P01", True), ("53300", True), ("57P01", True), ("23505", False), ("42P01", False)],
)
def test_a_sqlstate_tells_whether_it_passes(state: str, outage: bool) -> None:
    cause = Exception("as Postgres says")
    cause.sqlstate = state  # type: ignore[attr-defined]  # as the driver's have
    assert is_outage(DBAPIError("SELECT 1", {}, cause)) == outage
