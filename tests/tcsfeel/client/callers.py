"""Both kinds of clients behind one face, so that a test holds for each of them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tcsfeel.client import AsyncClient, Client, Patience

QUICK = Patience(first_pause_seconds=0.001, longest_pause_seconds=0.001, deadline_seconds=20, timeout_seconds=10)

Caller = Callable[..., Any]


def blocking(
    url: str, method: str, *arguments: Any, patience: Patience = QUICK, most: int = 10**6, **given: Any
) -> Any:
    with Client(url, "key", patience=patience, max_answer_bytes=most) as client:
        return getattr(client, method)(*arguments, **given)


def asynchronous(
    url: str, method: str, *arguments: Any, patience: Patience = QUICK, most: int = 10**6, **given: Any
) -> Any:
    async def run() -> Any:
        async with AsyncClient(url, "key", patience=patience, max_answer_bytes=most) as client:
            return await getattr(client, method)(*arguments, **given)

    return asyncio.run(run())


both = pytest.mark.parametrize("call", [blocking, asynchronous])
