"""Metrics and the documentation behind a key, where a setting asks for one."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api import KEY, Api, assert_problem, running_api

PAGES = {"/metrics": "metrics", "/docs": "docs", "/openapi.json": "docs"}
FILES = "/static-offline-docs/swagger-ui.css"


async def reach(api: Api, path: str, auth: tuple[str, str] | None) -> httpx2.Response:
    return await api.anonymous.get(path, auth=auth)


@pytest.mark.parametrize(("path", "section"), PAGES.items())
async def test_with_the_setting_a_page_needs_a_key(tmp_path: Path, sqlite_url: str, path: str, section: str) -> None:
    settings: Any = {section: {"need_key": True}}
    async with running_api(tmp_path / "data", sqlite_url, **settings) as api:
        refused = await reach(api, path, None)
        assert_problem(refused, 401)
        assert refused.headers["WWW-Authenticate"] == 'Basic realm="TCS-FEEL", charset="UTF-8"'
        assert_problem(await reach(api, path, ("", "a-wrong-key-of-some-length")), 401)
        assert_problem(await api.anonymous.get(path, headers={"Authorization": "Basic %%%"}), 401)
        assert_problem(await api.anonymous.get(path, headers={"Authorization": "Bearer wrong"}), 401)
        assert (await reach(api, path, ("anybody", KEY))).status_code == 200
        assert (await api.http.get(path)).status_code == 200
        others = [other for other, where in PAGES.items() if where != section]
        assert [(await reach(api, other, None)).status_code for other in (*others, FILES, "/healthz", "/readyz")] == [
            200
        ] * (len(others) + 3)


async def test_a_page_is_not_for_devices(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url, metrics={"need_key": True}) as api:
        device = await api.system.keys.create(name="edge-7", role="agent", client_id="edge-7")
        person = await api.system.keys.create(name="anna", role="viewer")
        assert_problem(await reach(api, "/metrics", ("", device.text)), 403)
        assert_problem(await api.anonymous.get("/metrics", headers={"Authorization": f"Bearer {device.text}"}), 403)
        assert (await reach(api, "/metrics", ("", person.text))).status_code == 200


async def test_without_authentication_callers_on_this_machine_need_none(tmp_path: Path, sqlite_url: str) -> None:
    settings: Any = {"metrics": {"need_key": True}, "auth": {"enabled": False}}
    async with running_api(tmp_path / "data", sqlite_url, **settings) as api:
        assert (await reach(api, "/metrics", None)).status_code == 200
