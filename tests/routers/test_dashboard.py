"""The dashboard: a page whose files this server has, and which refers to no other host."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from app.http.security_headers import OWN_FILES
from tests.api import Api, caller, running_api

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "app" / "dashboard"
FILES = sorted(FOLDER.iterdir())
MOST_BYTES = (
    80_000  # of scripts and styles: what a browser gets for all views, and for the first one if nothing is compressed
)
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
NAMESPACE = "http://www.w3.org/2000/svg"
CONTENTS = {path: path.read_bytes() for path in FILES}
SCRIPTS_AND_STYLES = [path for path in FILES if path.suffix in {".js", ".css"}]
MOST_LINES = 300  # as in modules of Python
STATIC = re.compile(r'^import .* from "\./([^"]+)";$', re.MULTILINE)
IMPORTED = re.compile(r'(?:from |import\()"([^"]+)"')
SERVED = [path for path in FILES if path.suffix in KINDS]


async def test_the_page_has_a_policy_that_lets_it_run_only_files_of_this_server(sqlite_api: Api) -> None:
    response = await sqlite_api.anonymous.get("/")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Content-Security-Policy"] == OWN_FILES
    assert "unsafe" not in OWN_FILES
    assert "require-trusted-types-for 'script'" in OWN_FILES
    assert response.headers["Cache-Control"] == "no-store"
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]* src=)", response.text)
    assert 'data-needs-key="yes"' in response.text


async def test_everything_that_the_page_refers_to_is_a_file_of_this_server(sqlite_api: Api) -> None:
    page = (await sqlite_api.anonymous.get("/")).text
    referred = re.findall(r'(?:src|href)="(?!#)([^"]+)"', page)
    assert {Path(one).suffix for one in referred} == set(KINDS)
    for place in referred:
        assert place.startswith("/dashboard/")
        assert (await sqlite_api.anonymous.get(place)).status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "identity"])
@pytest.mark.parametrize("path", SERVED, ids=lambda path: path.name)
async def test_a_file_is_served_and_asked_for_again_only_if_it_has_changed(
    sqlite_api: Api, path: Path, coding: str
) -> None:
    response = await sqlite_api.anonymous.get(f"/dashboard/{path.name}", headers={"Accept-Encoding": coding})
    assert response.status_code == 200
    assert response.content == CONTENTS[path]
    assert response.headers.get("Content-Encoding", "identity") == coding
    assert response.headers["Vary"] == "Accept-Encoding"
    assert response.headers["Content-Type"].partition(";")[0] == KINDS[path.suffix]
    assert response.headers["Cache-Control"] == "no-cache"
    known = {"If-None-Match": response.headers["ETag"], "Accept-Encoding": coding}
    again = await sqlite_api.anonymous.get(f"/dashboard/{path.name}", headers=known)
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "no-cache")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_refers_to_no_other_host_and_makes_no_markup_of_text(path: Path) -> None:
    text = path.read_text().replace(NAMESPACE, "")
    assert not re.search(r"https?:|[\"'(]//", text)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|srcdoc|@import", text
    )
    for imported in IMPORTED.findall(text):
        assert (FOLDER / imported).is_file(), imported


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("br;q=1.0, GZIP; q=0.5", "gzip"),
        ("", None),
        ("br", None),
        ("gzip;q=0, br", None),
        ("gzip;q=0.0", None),
        ("x-gzip", None),
    ],
)
async def test_a_file_is_compressed_for_those_who_take_it(sqlite_api: Api, accepted: str, coding: str | None) -> None:
    response = await sqlite_api.anonymous.get("/dashboard/main.js", headers={"Accept-Encoding": accepted})
    assert response.headers.get("Content-Encoding") == coding
    assert response.content == CONTENTS[FOLDER / "main.js"]


async def test_the_headers_of_a_file_can_be_asked_for(sqlite_api: Api) -> None:
    response = await sqlite_api.anonymous.head("/dashboard/main.js", headers={"Accept-Encoding": "gzip"})
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["Content-Length"]) == len(CONTENTS[FOLDER / "main.js"])


async def test_a_browser_gets_few_bytes_for_all_views(sqlite_api: Api) -> None:
    """As they are sent: the client of the test undoes the compression, and tells nothing of it but the length."""
    sent = 0
    for path in SCRIPTS_AND_STYLES:
        response = await sqlite_api.anonymous.get(f"/dashboard/{path.name}", headers={"Accept-Encoding": "gzip"})
        sent += int(response.headers["Content-Length"])
    assert sent < MOST_BYTES


def test_the_first_view_is_small_even_if_nothing_is_compressed() -> None:
    """The other views are loaded when they are opened, so they do not slow the first one down."""
    wanted, first = ["main.js"], {"style.css"}
    while wanted:
        first.add(name := wanted.pop())
        wanted += [one for one in STATIC.findall((FOLDER / name).read_text()) if one not in first]
    assert not first & {"start.js", "compare.js", "explorer.js", "training.js", "clients.js", "topology.js"}
    assert sum(len(CONTENTS[FOLDER / name]) for name in first) < MOST_BYTES


@pytest.mark.parametrize("path", SCRIPTS_AND_STYLES, ids=lambda path: path.name)
def test_a_module_is_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_the_wheel_has_every_file() -> None:
    """`make wheels` builds it; this test notices a file that no pattern names."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["app"]
    packed = {path for pattern in patterns for path in (ROOT / "app").glob(pattern)}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} <= packed


async def test_nothing_beside_the_files_is_served(sqlite_api: Api) -> None:
    for place in ("/dashboard/nothing.js", "/dashboard/../main.py", "/dashboard/%2e%2e/main.py", "/dashboard/"):
        assert (await sqlite_api.anonymous.get(place)).status_code == 404, place


async def test_behind_a_prefix_the_page_finds_its_files(sqlite_api: Api) -> None:
    async def prefixed(scope: Scope, receive: Receive, send: Send) -> None:
        await sqlite_api.app({**scope, "root_path": '/fl"x'}, receive, send)

    app: Any = prefixed
    async with caller(app) as http:
        page = (await http.get("/")).text
    assert 'src="/fl&quot;x/dashboard/main.js"' in page


async def test_without_authentication_the_page_asks_for_no_key(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url, auth={"enabled": False}) as api:
        assert 'data-needs-key="no"' in (await api.anonymous.get("/")).text
        assert (await api.anonymous.get("/v1/caller")).json()["role"] == "admin"
