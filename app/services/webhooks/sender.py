"""Send one event to the receiver of a webhook, signed as Standard Webhooks define it.

No redirect is followed, no proxy of the environment is used, and every address is checked as it is connected to. A
delivery ends after `SECONDS`. Nothing but the head of the answer is read.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from standardwebhooks import Webhook as Signature

from app.clock import Clock
from app.domain.webhooks import Delivery, Webhook
from app.services.access.secrets import ServerSecret, Undecipherable
from app.services.tasks.breaks import BROKEN, describe
from app.services.tasks.patience import TooSlow
from app.services.tasks.requests import Request, address_of
from app.services.tasks.responses import Transport
from tcsfeel.text import plain

SECONDS = 15.0
SIGNING = 100  # webhooks whose secrets are kept decrypted, since to decrypt one takes longer than to sign with it


class Sent(NamedTuple):
    """The result of a try: the `status` of the answer if there was one, and the `problem`; None if it arrived."""

    status: int | None
    problem: str | None

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status == HTTPStatus.GONE


class Sender:
    """Signs deliveries with the secrets of their webhooks, and sends them."""

    def __init__(self, transport: Transport, secret: ServerSecret, clock: Clock, *, seconds: float = SECONDS) -> None:
        self._transport = transport
        self._signature = lru_cache(SIGNING)(lambda stored: Signature(secret.decrypt(stored)))
        self._clock = clock
        self._seconds = seconds

    async def send(self, webhook: Webhook, delivery: Delivery) -> Sent:
        """Try once. Raises an OSError if this machine has no descriptors or memory for a connection."""
        try:
            request = self._request(webhook, delivery)
            async with asyncio.timeout(self._seconds):
                answer = await self._transport.exchange(request)
        except Undecipherable as error:
            return Sent(None, str(error))
        except (*BROKEN, TooSlow, ValueError) as error:
            return Sent(None, plain(describe(error).replace("the agent", "the receiver")))
        await answer.close()
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return Sent(answer.status, None)
        redirected = HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST
        more = ", and redirects are not followed" if redirected else ""
        return Sent(answer.status, f"the receiver answered {answer.status}{more}")

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    def _request(self, webhook: Webhook, delivery: Delivery) -> Request:
        now = datetime.fromtimestamp(int(self._clock.now()), UTC)
        signature = self._signature(webhook.secret)
        body = delivery.body.encode()
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "User-Agent": "tcsfeel",
            "webhook-id": delivery.message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signature.sign(delivery.message_id, now, delivery.body),
        }
        # An address is the base of paths, without the last slash, but a receiver may tell the two apart.
        slash = "/" if webhook.url.endswith("/") or not address_of(webhook.url).path else ""
        return Request("POST", webhook.url, slash, headers, _Body(body))


class _Body:
    """A body that can be sent again."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data
