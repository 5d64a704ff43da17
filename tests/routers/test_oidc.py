"""Calls with bearer tokens of an OpenID Connect issuer, beside API keys."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.services.access import issuer as module
from tests.api import Api, assert_problem, running_api
from tests.services.access.issuers import Issuer, issuing


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as found:
        yield found


@pytest.fixture
async def api(issuer: Issuer, tmp_path: Path, database_url: str) -> AsyncIterator[Api]:
    oidc = {"issuer": issuer.url, "audience": "tcsfeel", "roles": {"ops": "operator", "readers": "viewer"}}
    async with running_api(tmp_path / "data", database_url, oidc=oidc) as found:
        yield found


def bearing(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def test_the_role_of_a_token_decides_what_its_caller_may_do(api: Api, issuer: Issuer) -> None:
    operator, viewer = (bearing(issuer.token(roles=[role], sub=role)) for role in ("ops", "readers"))
    made = await api.anonymous.post("/v1/trainings", json={"name": "x"}, headers=operator)
    assert made.status_code == 201
    assert (await api.anonymous.get("/v1/trainings", headers=viewer)).status_code == 200
    refused = await api.anonymous.post("/v1/trainings", json={"name": "x"}, headers=viewer)
    assert assert_problem(refused, 403)["type"] == "urn:tcsfeel:problem:forbidden"
    nobody = await api.anonymous.get("/v1/trainings", headers=bearing(issuer.token(roles=["others"])))
    assert "its claim 'roles' should have one of ops, readers" in assert_problem(nobody, 403)["detail"]
    (event,) = (await api.stored())["events"]
    assert "oidc ops" in event


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"aud": "another"}, "its claim 'aud'"), ({"exp": 1}, "has expired"), ({"padding": "x" * 8000}, "more than 8192")],
)
async def test_a_token_that_is_not_valid_is_refused(api: Api, issuer: Issuer, changes: Any, words: str) -> None:
    refused = await api.anonymous.get("/v1/trainings", headers=bearing(issuer.token(**changes)))
    problem = assert_problem(refused, 401)
    assert (problem["type"], words in problem["detail"]) == ("urn:tcsfeel:problem:unauthenticated", True)
    assert refused.headers["WWW-Authenticate"] == "Bearer"


async def test_keys_work_while_the_issuer_hangs(api: Api, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCH_SECONDS", 0.05)
    issuer.mode = "hangs"
    refused = await api.anonymous.get("/v1/trainings", headers=bearing(issuer.token(roles=["ops"])))
    problem = assert_problem(refused, 503)
    assert (problem["type"], refused.headers["Retry-After"]) == ("urn:tcsfeel:problem:issuer-unavailable", "5")
    asked = len(issuer.asked)
    assert (await api.http.get("/v1/trainings")).status_code == 200
    assert len(issuer.asked) == asked


async def test_without_an_issuer_a_token_is_no_key(sqlite_api: Api, issuer: Issuer) -> None:
    assert_problem(await sqlite_api.anonymous.get("/v1/trainings", headers=bearing(issuer.token())), 401)
    assert issuer.asked == []
