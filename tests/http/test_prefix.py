"""Behind a reverse proxy that serves the API under a path: links, pages and `Location` have the path."""

from pathlib import Path

import httpx2
import pytest

from app.settings import Settings, WrongSetting
from tests.api import running_api


async def test_what_the_server_names_has_the_prefix(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url, path_prefix="/fl/eu") as api:
        page = (await api.http.get("/")).text
        assert 'src="/fl/eu/dashboard/main.js"' in page
        assert (await api.http.get("/openapi.json")).json()["servers"] == [{"url": "/fl/eu"}]
        assert 'src="/fl/eu/static-offline-docs/swagger-ui-bundle.js"' in (await api.http.get("/docs")).text
        made = await api.http.post("/v1/trainings", json={"name": "digits"})
        assert made.headers["Location"] == f"/fl/eu/v1/trainings/{made.json()['id']}"
        assert (await api.http.get(made.headers["Location"].removeprefix("/fl/eu"))).is_success
        assert (await api.http.get(made.headers["Location"])).status_code == httpx2.codes.NOT_FOUND


async def test_the_audit_trail_names_what_was_made_without_the_prefix(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url, path_prefix="/fl") as api:
        made = (await api.http.post("/v1/trainings", json={"name": "digits"})).json()["id"]
        await api.system.audit.write()
        records = (await api.http.get("/v1/audit")).json()["items"]
    assert f"/v1/trainings/{made}" in str(records)
    assert "/fl" not in str(records)


@pytest.mark.parametrize("wrong", ["fl", "/", "/fl/", "//fl", "/f l", "/fl?x", "/fl\n", "/" + 256 * "a", '/"onload="x'])
def test_a_wrong_prefix_is_refused(wrong: str) -> None:
    with pytest.raises(WrongSetting, match="TCSFEEL_PATH_PREFIX: must be the path before every path of the API"):
        Settings.load(path_prefix=wrong)
