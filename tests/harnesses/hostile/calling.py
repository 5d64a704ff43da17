"""Call the API to set up an attack, as patiently as devices do: a busy server may ask to be called again."""

import asyncio
from typing import Any

import httpx2

from tests.e2e.servers import PATIENCE

_AGAIN_SECONDS = 0.2


async def call(api: httpx2.AsyncClient, method: str, path: str, **kwargs: Any) -> Any:
    """Return the body of an answer that must be a success. A call that the server asks to repeat (503) is repeated."""
    async with asyncio.timeout(PATIENCE):
        while True:
            response = await api.request(method, path, **kwargs)
            if response.status_code != httpx2.codes.SERVICE_UNAVAILABLE or "retry-after" not in response.headers:
                break
            await asyncio.sleep(_AGAIN_SECONDS)
    assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
    return response.json() if response.content else None
