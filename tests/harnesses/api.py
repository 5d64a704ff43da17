"""The REST API for a harness, which breaks what answers it."""

import asyncio
import itertools
from typing import Any, Self

import httpx2

AGAIN_SECONDS = 0.02
CALL_SECONDS = 5.0  # a replica may be stalled: then the next one is asked


class Api:
    """The REST API of several replicas: any of them will do."""

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
        """The body of a success, from the first replica that answers; `also` is a status that is as good as one.

        Only for what may be asked twice: a replica may die with its answer under way.
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
    """A replica answered, and not well."""
