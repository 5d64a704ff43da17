"""Answers that are long: they are made in a thread, since ten thousand reasons take a while."""

from collections.abc import Callable
from typing import TypeVar

from fastapi import Response

from app.schemas.fields import ResponseModel
from app.threads import in_thread

Given = TypeVar("Given")


async def answered(make: Callable[[Given], ResponseModel], given: Given) -> Response:
    """The answer that `make` makes of `given`, as JSON."""
    body = await in_thread("administration", lambda: make(given).model_dump_json(by_alias=True))
    return Response(body, media_type="application/json")
