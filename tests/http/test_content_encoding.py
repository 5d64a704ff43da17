"""Bodies are taken as they are: one that says it is compressed is refused before it is read."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api, assert_problem, profile, running_api

JSON = {"Content-Type": "application/json"}
BODY = json.dumps(profile()).encode()


@pytest.fixture
async def api(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Api]:
    async with running_api(tmp_path / "data", sqlite_url) as running:
        yield running


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate", "br", "identity, gzip", "x" * 500])
async def test_a_body_that_is_said_to_be_compressed_is_refused_unread(api: Api, encoding: str) -> None:
    asked = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        asked += 1
        yield gzip.compress(BODY)

    for method, path in (
        ("POST", "/v1/clients"),
        ("POST", "/v1/clients/batch"),
        ("PUT", "/v1/connectivity"),
        ("PUT", "/v1/trainings/0123456789abcdef/model"),
    ):
        headers = JSON | {"Content-Encoding": encoding}
        response = await api.http.request(method, path, content=body(), headers=headers)
        told: dict[str, Any] = assert_problem(response, 415)
        assert told["type"] == "urn:tcsfeel:problem:unsupported-media-type"
        assert "Content-Encoding" in told["detail"]
        assert len(told["detail"]) < 300
        assert response.headers["Accept-Encoding"] == "identity"
    assert asked == 0


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_a_body_that_is_said_to_be_as_it_is_is_taken(api: Api, encoding: str) -> None:
    response = await api.http.post("/v1/clients", content=BODY, headers=JSON | {"Content-Encoding": encoding})
    assert response.status_code == 201
