"""Who may call what, and that nobody reads a secret."""

import json
import logging
import re
from io import StringIO
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app import logs
from app.settings import LogSettings
from tcsfeel.inbound.welcoming import EXTENSION
from tests.api import AUTHORIZED, KEY, Api, assert_problem, caller, profile, running_api

TOKEN = "s3cr3t-of-edge-7"


def operations(api: Api) -> list[tuple[str, str]]:
    """Every documented operation, with something in the place of its parameters."""
    paths = api.app.openapi()["paths"]
    found = [(method.upper(), re.sub(r"\{\w+\}", "1", path)) for path, methods in paths.items() for method in methods]
    assert len(found) > 25
    return found


async def test_every_operation_of_v1_asks_for_the_key_before_anything_else(sqlite_api: Api) -> None:
    before = await sqlite_api.stored()
    asked = [(method, path) for method, path in operations(sqlite_api) if path.startswith("/v1/")]
    assert len(asked) > 25
    for method, path in asked:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}):
            for content in (b"", b"{ not even JSON"):
                typed = headers | ({"Content-Type": "application/json"} if content else {})
                response = await sqlite_api.anonymous.request(method, f"{path}?no=such", content=content, headers=typed)
                if method == "HEAD":  # whose answers have no body
                    assert response.status_code == 401
                else:
                    assert_problem(response, 401)
                assert response.headers["WWW-Authenticate"] == "Bearer"
    assert await sqlite_api.stored() == before


NOT_THE_KEY = [
    "",
    "Bearer",
    "Bearer ",
    KEY,
    f"Bearer {KEY}x",
    f"Bearer {KEY[:-1]}",
    f"Bearer {KEY.upper()}",
    f"Bearer  {KEY[1:]}",
    f"Token {KEY}",
    "Bearer \xe9",
    f"Bearer {'x' * 100_000}",
]


async def test_what_is_not_the_key_is_refused(sqlite_api: Api) -> None:
    for value in NOT_THE_KEY:
        headers = [(b"Authorization", value.encode("latin-1"))]
        assert_problem(await sqlite_api.anonymous.get("/v1/clients", headers=headers), 401)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_key_opens_whatever_the_case_of_the_scheme(sqlite_api: Api, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {KEY}"}
    assert (await sqlite_api.anonymous.get("/v1/clients", headers=headers)).status_code == 200


async def test_a_body_is_not_read_before_the_key_is_known(sqlite_api: Api) -> None:
    read = 0

    async def body() -> Any:
        nonlocal read
        read += 1
        yield b"{}"

    await sqlite_api.anonymous.post("/v1/clients", content=body(), headers={"Content-Type": "application/json"})
    # httpx2's transport starts the body itself only when the application asks for it.
    assert read == 0


@pytest.mark.parametrize(
    ("address", "status"), [("127.0.0.1", 200), ("::1", 200), ("10.0.0.5", 401), ("192.168.1.2", 401)]
)
async def test_without_authentication_only_this_machine_may_call(
    tmp_path: Path, sqlite_url: str, address: str, status: int
) -> None:
    async with running_api(tmp_path / "data", sqlite_url, auth={"enabled": False}) as api:
        async with caller(api.app, address=address) as http:
            assert (await http.get("/v1/clients")).status_code == status
        async with caller(api.app, address=address, headers=AUTHORIZED) as http:
            assert (await http.get("/v1/clients")).status_code == status


@pytest.fixture(params=["console", "json"])
def log(request: pytest.FixtureRequest, logging_as_before: None) -> StringIO:  # noqa: ARG001  (it runs around this)
    """What the process logs, as it is configured for use, down to every detail."""
    root, written = logging.getLogger(), StringIO()
    logs.configure(LogSettings(level="debug", format=request.param))
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    return written


async def test_no_secret_is_in_a_response_an_event_or_a_log_line(
    tmp_path: Path, database_url: str, log: StringIO
) -> None:
    client = profile(id="edge-7", auth_token=TOKEN)
    texts = []
    async with running_api(tmp_path / "data", database_url) as api:
        calls: list[tuple[str, str, Any]] = [
            ("POST", "/v1/clients", client),
            ("POST", "/v1/clients", client),  # taken
            ("POST", "/v1/clients", client | {"data_size": TOKEN, TOKEN: 1, "url": f"http://u:{TOKEN}@x"}),
            ("POST", "/v1/clients", client | {"auth_token": f"{TOKEN} with a space"}),
            ("POST", "/v1/clients", client | {"auth_token": [TOKEN]}),
            ("POST", "/v1/clients/batch", {"clients": [client | {"id": "edge-8"}]}),
            ("PUT", "/v1/clients/edge-7", client),
            ("PUT", "/v1/clients/edge-7", client | {"url": f"http://{TOKEN}:{TOKEN}"}),
            ("PATCH", "/v1/clients/edge-7", {"auth_token": TOKEN, "bandwidth": 1.5}),
            ("PATCH", "/v1/clients/edge-7", {"auth_token": TOKEN, "bandwidth": "x"}),
            ("GET", "/v1/clients", None),
            ("GET", "/v1/clients/edge-7", None),
            ("GET", "/metrics", None),
        ]
        for method, path, body in calls:
            texts.append((await api.http.request(method, path, json=body)).text)
        events = (await api.stored())["events"]
        async with api.system.db.begin() as tx:  # the store fails while it holds the token
            await tx.connection.exec_driver_sql("DROP TABLE clients")
        for method, path in (("POST", "/v1/clients"), ("PUT", "/v1/clients/edge-7")):
            response = await api.http.request(method, path, json=client)
            assert response.status_code >= 500
            texts.append(response.text)
    written = log.getvalue()
    assert "no such table" in written or 'relation "clients" does not exist' in written.replace("\\", "")
    assert "locals" not in written  # which tracebacks for people like to show
    for text in [*texts, json.dumps(events, default=str), written]:
        assert KEY not in text
        assert not any(TOKEN in line for line in text.splitlines() if f'"pointer":"/{TOKEN}"' not in line)


async def test_the_name_of_a_field_that_is_not_known_is_the_one_thing_repeated(sqlite_api: Api) -> None:
    response = await sqlite_api.http.post(
        "/v1/clients", json=profile(secret="do not repeat this", data_size="nor this")
    )
    problem = assert_problem(response, 422, "/data_size", "/secret")
    assert "this" not in json.dumps(problem)


async def test_devices_are_told_from_other_callers_who_show_a_key(sqlite_api: Api) -> None:
    """They leave connections to the others, for which the HTTP server has to know who is one."""
    welcomed: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("extensions", {})[EXTENSION] = welcomed.append
        await sqlite_api.app(scope, receive, send)

    new = (await sqlite_api.http.post("/v1/keys", json={"name": "x", "role": "agent", "client_id": "edge-7"})).json()
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:8080") as http:
        for key, status in ((KEY, 200), (new["key"], 403)):
            assert (await http.get("/v1/caller", headers={"Authorization": f"Bearer {key}"})).status_code == status
    assert welcomed == [False, True]
