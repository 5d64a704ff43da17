"""The dashboard of a real server: every module that the page needs comes over HTTP, and its calls are answered."""

import re
from pathlib import Path
from urllib.parse import urljoin

import httpx2

from tests.e2e.servers import server

REFERRED = re.compile(r'(?:src|href)="([^"#]+\.\w+)"')
IMPORTED = re.compile(r'(?:from |import\()"([^"]+)"')


async def test_a_browser_gets_the_page_and_all_modules_and_the_key_opens_the_api(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with server(tmp_path, sqlite_url) as running, httpx2.AsyncClient() as browser:
        page = await browser.get(f"{running.url}/")
        assert page.status_code == 200
        wanted, got = [urljoin(running.url, place) for place in REFERRED.findall(page.text)], set[str]()
        while wanted:
            address = wanted.pop()
            assert address.startswith(f"{running.url}/dashboard/")
            answer = await browser.get(address)
            assert answer.status_code == 200, address
            got.add(address.rpartition("/")[2])
            found = [urljoin(address, place) for place in IMPORTED.findall(answer.text)]
            wanted += [one for one in found if one.rpartition("/")[2] not in got]
        views = {"overview.js", "training.js", "clients.js", "topology.js", "start.js", "compare.js"}
        assert got >= {"main.js", "api.js", "style.css", *views}
        assert (await browser.get(f"{running.url}/v1/caller")).status_code == 401
        async with running.api() as api:
            assert (await api.get("/v1/caller")).json()["role"] == "admin"
