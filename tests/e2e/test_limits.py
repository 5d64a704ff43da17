"""A server as its users run it: callers beyond their limits, and callers with tokens of an issuer."""

import time
from pathlib import Path

import httpx2

from tcsfeel.client import AsyncClient
from tests.e2e.servers import server
from tests.services.access.issuers import AUDIENCE, issuing

MANY = 1000  # calls, of which some must be too many for a caller that may send one in a second


async def test_a_caller_is_told_to_wait_and_the_client_does(tmp_path: Path, sqlite_url: str) -> None:
    async with issuing() as issuer:
        limits = {"TCSFEEL_LIMITS__REQUESTS_PER_SECOND": "1", "TCSFEEL_LIMITS__TRAININGS": "1"}
        oidc = {"TCSFEEL_OIDC__ISSUER": issuer.url, "TCSFEEL_OIDC__AUDIENCE": AUDIENCE}
        async with server(tmp_path, sqlite_url, **limits, **oidc) as plane, plane.api() as api:
            refused = None
            for _ in range(MANY):
                answer = await api.get("/v1/strategies")
                if answer.status_code != httpx2.codes.OK:
                    refused = answer
                    break
            assert refused is not None
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            assert "TCSFEEL_LIMITS__REQUESTS_PER_SECOND" in refused.json()["detail"]
            async with AsyncClient(plane.url, plane.key) as client:
                assert (await client.list_strategies()).items  # it comes again after the time that the server asks for

            now = int(time.time())
            text = issuer.token(exp=now + 300, iat=now)
            other = {"Authorization": f"Bearer {text}"}
            for status in (201, 429):
                made = await api.post("/v1/trainings", json={"name": "x"}, headers=other)
                assert made.status_code == status, made.text
            assert "at most 1 trainings that have not ended" in made.json()["detail"]
            expired = {"Authorization": f"Bearer {issuer.token(exp=now - 300)}"}
            assert (await api.get("/v1/trainings", headers=expired)).status_code == 401
            shown = (await api.get("/metrics")).text
            assert 'federated_limited_total{limit="trainings"} 1.0' in shown
