"""Take the message of a call in time, and from callers that leave places for others.

Each method takes one message, but is served like one that takes a stream, which is the same for callers. Otherwise gRPC
waits for the message as long as the caller likes, and parses it on the event loop.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import grpc

from tcsfeel.rest.problems import Refused

MESSAGE_SECONDS = 10.0  # from the start of a call until its message has arrived
MOST_OF_ADDRESS = 64  # calls of one address whose message has not arrived
_PEER = re.compile(r"ipv[46]:(?P<host>.+):\d+")

Context = grpc.aio.ServicerContext[Any, Any]


class Arrivals:
    """Counts the calls whose message has not arrived."""

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()

    async def message(self, requests: AsyncIterator[bytes], context: Context, most_bytes: int) -> bytes:
        """Return the message of a call, not parsed. Raises `Refused`."""
        address = address_of(context)
        if self._waiting[address] >= MOST_OF_ADDRESS:
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{MOST_OF_ADDRESS} calls of this address have not sent their message: try again later",
                type="urn:tcsfeel:problem:rate-limited",
                retry_after=1.0,
            )
        self._waiting[address] += 1
        try:
            async with asyncio.timeout(MESSAGE_SECONDS):
                content = await anext(aiter(requests), None)
        except TimeoutError:
            detail = f"the message of a call has to arrive within {MESSAGE_SECONDS:g} s"
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, detail, type="urn:tcsfeel:problem:too-slow") from None
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
        if content is None:
            raise Refused(HTTPStatus.BAD_REQUEST, "the call has no message", type="urn:tcsfeel:problem:bad-request")
        if len(content) > most_bytes:
            detail = f"the message has {len(content)} bytes, and may have at most {most_bytes}"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, type="urn:tcsfeel:problem:too-large")
        return content


def address_of(context: Context) -> str:
    """Return the address that a call comes from."""
    peer = _PEER.fullmatch(context.peer().replace("%5B", "[").replace("%5D", "]"))
    return "" if peer is None else peer["host"].strip("[]")
