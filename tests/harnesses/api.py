"""Call the REST API for a harness that breaks the servers."""

import asyncio
import itertools
from typing import Any, Self

import httpx2

AGAIN_SECONDS = 0.02
CALL_SECONDS = 5.0  # after this time the next replica is asked, because this one may be stalled


class Api:
    """The REST API of several replicas. Each call goes to any of them."""

    def __init__(self, urls: list[str], key: str) -> None:
        self._urls = itertools.cycle(urls)
        self._http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"}, timeout=CALL_SECONDS, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def call(self, method: str, path: str, *, also: int | None = None, **request: Any) -> Any:
        """Return the body of a success from the first replica that answers. The status `also` counts as a success.

        This is only for requests that can be repeated, because a replica may die before its answer is sent.
        """
        while True:
            try:
                response = await self._http.request(method, next(self._urls) + path, **request)
            except httpx2.TransportError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if response.is_success or response.status_code == also:
                return response.json() if response.content else None
            if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            raise ApiFailed(f"{method} {path}: {response.status_code} {response.text}")


class ApiFailed(Exception):
    """A replica answered with an error."""
