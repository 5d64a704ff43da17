"""Who may do what: the agent of a client, and those who register clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api import KEY, Api, assert_problem, caller, profile, running_api


@asynccontextmanager
async def holding(api: Api, **fields: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A caller with a new key."""
    new = (await api.http.post("/v1/keys", json={"name": "x"} | fields)).json()
    async with caller(api.app, headers={"Authorization": f"Bearer {new['key']}"}) as http:
        yield http


async def test_an_agent_registers_reads_changes_and_keeps_alive_its_own_client(api: Api) -> None:
    async with holding(api, name="device 7", role="agent", client_id="edge-7") as agent:
        assert (await agent.put("/v1/clients/edge-7", json=profile(instance="i"))).status_code == 201
        assert (await agent.put("/v1/clients/edge-7", json=profile(id="edge-7"))).status_code == 200
        assert (await agent.patch("/v1/clients/edge-7", json={"bandwidth": 8.0})).status_code == 200
        assert (await agent.get("/v1/clients/edge-7")).json()["bandwidth"] == 8.0
        assert (await agent.post("/v1/clients/edge-7/heartbeat", json={"latency": 5.0})).status_code == 204
    async with api.system.db.read() as tx:
        events = (await tx.events.after(0, limit=10)).items
    assert {one.actor for one in events if one.type.startswith("client.")} == {"device 7"}


async def test_an_agent_may_do_nothing_else(api: Api) -> None:
    await api.register("edge-7", "edge-8")
    before = await api.stored()
    async with holding(api, role="agent", client_id="edge-7") as agent:
        calls: list[tuple[str, str, Any]] = [
            ("PUT", "/v1/clients/edge-8", profile(id="edge-8")),
            ("PUT", "/v1/clients/edge-9", profile()),
            ("PATCH", "/v1/clients/edge-8", {"bandwidth": 8.0}),
            ("GET", "/v1/clients/edge-8", None),
            ("GET", "/v1/clients/none", None),
            ("POST", "/v1/clients/edge-8/heartbeat", None),
            ("DELETE", "/v1/clients/edge-7", None),
            ("GET", "/v1/clients/edge-7/breaker", None),
            ("POST", "/v1/clients/edge-7/breaker/reset", None),
            ("GET", "/v1/clients", None),
            ("POST", "/v1/clients", profile(id="edge-7")),
            ("POST", "/v1/clients/batch", {"clients": [profile(id="edge-9")]}),
            ("GET", "/v1/trainings", None),
            ("GET", "/v1/keys", None),
        ]
        for method, path, body in calls:
            refusal = assert_problem(await agent.request(method, path, json=body), 403)
            assert refusal["detail"] == (
                "this key is of the agent of the client 'edge-7', and allows only calls about it"
            )
        changed = await agent.put("/v1/clients/edge-7", json=profile(id="edge-8"))
        assert_problem(changed, 422, "/id")
    assert {name: rows for name, rows in (await api.stored()).items() if name == "clients"} == {
        "clients": before["clients"]
    }


@pytest.mark.parametrize(
    ("host", "setting", "allowed"),
    [
        ("127.0.0.1", None, True),
        ("10.0.0.5", None, False),
        ("10.0.0.5", True, True),
        ("127.0.0.1", False, False),
    ],
)
async def test_keys_of_people_register_clients_on_loopback_or_where_the_setting_says_so(
    tmp_path: Path, sqlite_url: str, host: str, setting: bool | None, allowed: bool
) -> None:
    auth = {"admin_key": KEY, "register_by_key": setting}
    async with running_api(tmp_path / "data", sqlite_url, host=host, auth=auth) as api:
        answers = [
            await api.http.post("/v1/clients", json=profile(id="a")),
            await api.http.put("/v1/clients/b", json=profile()),
            await api.http.post("/v1/clients/batch", json={"clients": [profile(id="c"), profile(id="d")]}),
        ]
        if allowed:
            assert [answer.status_code for answer in answers] == [201, 201, 201]
            return
        for answer in answers:
            refusal = assert_problem(answer, 403)
            assert refusal["type"] == "urn:tcsfeel:problem:invitation-needed"
            assert "TCSFEEL_AUTH__REGISTER_BY_KEY" in refusal["detail"]
        assert (await api.stored())["clients"] == []
        async with holding(api, role="agent", client_id="e") as agent:
            assert (await agent.put("/v1/clients/e", json=profile())).status_code == 201
        assert (await api.http.put("/v1/clients/e", json=profile(bandwidth=8.0))).status_code == 200
        assert (await api.http.patch("/v1/clients/e", json={"bandwidth": 9.0})).status_code == 200


FOREIGN = [
    {"Host": "attacker.example:8080"},
    {"Host": "127.0.0.1.attacker.example"},
    {"Host": "10.0.0.5:8080"},
    {"Host": "[::1"},
    {"Host": ""},
    {"Origin": "http://attacker.example"},
    {"Origin": "http://127.0.0.1:9999"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


OWN: list[dict[str, str]] = [
    {},
    {"Host": "localhost:8080"},
    {"Host": "[::1]:8080"},
    {"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
]


async def test_an_api_without_keys_is_for_programs_and_its_own_pages(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url, auth={"enabled": False}) as api:
        for headers in FOREIGN:
            async with caller(api.app, headers=headers) as page:
                for answer in (
                    await page.get("/v1/clients"),
                    await page.post("/v1/trainings", json={"name": "digits"}),
                ):
                    assert assert_problem(answer, 403)["type"] == "urn:tcsfeel:problem:foreign-page", headers
        assert (await api.stored())["trainings"] == []
        for headers in OWN:
            async with caller(api.app, headers=headers) as http:
                assert (await http.get("/v1/clients")).status_code == 200, headers


async def test_no_server_lets_pages_of_other_sites_read_its_answers(sqlite_api: Api) -> None:
    for method in ("OPTIONS", "GET"):
        answer = await sqlite_api.http.request(
            method,
            "/v1/clients",
            headers={"Origin": "http://attacker.example", "Access-Control-Request-Method": "GET"},
        )
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
