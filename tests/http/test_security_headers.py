"""The headers that tell browsers what they may do with an answer."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from app.http.security_headers import NOTHING, policy_of, secured
from tests.api import Api, assert_problem, caller, running_api

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@pytest.fixture
async def api(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Api]:
    async with running_api(tmp_path / "data", sqlite_url) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/clients", 200),
        ("DELETE", "/v1/clients/nobody", 404),
        ("INVENTED", "/v1/clients", 405),
        ("POST", "/v1/clients", 422),
        ("GET", "/nothing", 404),
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/static-offline-docs/swagger-ui.css", 200),
        ("GET", "/dashboard/main.js", 200),
        ("GET", "/", 200),
        ("GET", "/docs", 200),
    ],
)
async def test_every_answer_has_them(api: Api, method: str, path: str, status: int) -> None:
    response = await api.http.request(method, path)
    assert response.status_code == status
    assert {name: response.headers.get_list(name) for name in ALWAYS} == {
        name: [value] for name, value in ALWAYS.items()
    }
    (policy,) = response.headers.get_list("Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert (policy == NOTHING.decode()) == (path not in {"/", "/docs"})
    assert "frame-ancestors 'none'" in policy
    assert "Strict-Transport-Security" not in response.headers


async def test_a_refusal_and_a_failure_of_the_server_have_them(api: Api) -> None:
    refused = await api.anonymous.get("/v1/clients")
    assert_problem(refused, 401)
    api.app.state.system = None
    failed = await api.http.get("/v1/clients")
    assert failed.status_code == 500
    for response in (refused, failed):
        assert {name: response.headers.get(name) for name in ALWAYS} == ALWAYS
        assert response.headers["Cache-Control"] == "no-store"


async def test_only_answers_with_an_etag_may_be_stored(api: Api) -> None:
    for path in ("/v1/clients", "/v1/clients/nobody", "/healthz", "/docs"):
        assert (await api.http.get(path)).headers["Cache-Control"] == "no-store"
    await api.register("a", "b")
    matrix = {"client_ids": ["a", "b"], "costs": [[0, 1], [1, 0]]}
    assert (await api.http.put("/v1/connectivity", json=matrix)).status_code == 200
    stored = await api.http.get("/v1/connectivity")
    assert "ETag" in stored.headers
    assert "Cache-Control" not in stored.headers


async def test_over_tls_a_browser_is_told_to_stay_there(api: Api) -> None:
    async def over_tls(scope: Scope, receive: Receive, send: Send) -> None:
        await api.app({**scope, "scheme": "https"}, receive, send)

    app: Any = over_tls
    async with caller(app) as http:
        assert (await http.get("/healthz")).headers["Strict-Transport-Security"] == "max-age=31536000"


def test_what_the_application_chose_stays() -> None:
    chosen = [(b"content-security-policy", b"default-src 'self'"), (b"cache-control", b"max-age=60")]
    headers = secured(chosen, over_tls=False)
    assert [value for name, value in headers if name == b"content-security-policy"] == [b"default-src 'self'"]
    assert [value for name, value in headers if name == b"cache-control"] == [b"max-age=60"]


async def test_swagger_ui_may_run_its_own_scripts_and_no_others(api: Api) -> None:
    response = await api.http.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    scripts = policy["script-src"].split()
    (inline,) = re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert scripts == ["'self'", f"'sha256-{digest}'"]
    assert len(re.findall(r"<script", response.text)) == 2  # that one, and the file of Swagger UI
    assert not re.search(r"\son[a-z]+=", response.text)
    assert not re.search(r"(?:src|href)=\"(?!/static-offline-docs/)", response.text)
    assert policy["connect-src"] == "'self'"


async def test_behind_a_prefix_the_page_finds_its_files_and_the_document(api: Api) -> None:
    async def prefixed(scope: Scope, receive: Receive, send: Send) -> None:
        await api.app({**scope, "root_path": "/fl'x"}, receive, send)

    app: Any = prefixed
    async with caller(app) as http:
        page = (await http.get("/docs")).text
        assert (await http.get("/openapi.json")).json()["servers"] == [{"url": "/fl'x"}]
    assert "url: '/fl&#x27;x/openapi.json'" in page
    assert 'src="/fl&#x27;x/static-offline-docs/swagger-ui-bundle.js"' in page


def test_a_script_that_is_added_to_a_page_is_not_covered_by_the_policy_of_the_page() -> None:
    page = "<script>one()</script>"
    assert policy_of(page) != policy_of(page + "<script>two()</script>")
    assert "unsafe-inline" not in policy_of(page).split("style-src")[0]
