"""Sign the calls of agents that have a key."""

import secrets

import httpx2

from app.clock import Clock
from app.domain.clients import Endpoint
from tcsfeel.identity import Identity
from tcsfeel.wire.digests import CONTENT_DIGEST
from tcsfeel.wire.signatures import RECIPIENT, Signed, call_components, sign_call

_NONCE_BYTES = 16


class Signer:
    """Signs calls with the key of this control plane, whose `seed` all its replicas share."""

    def __init__(self, seed: bytes, clock: Clock) -> None:
        self._identity = Identity(seed)
        self._clock = clock

    def sign(self, request: httpx2.Request, agent: Endpoint) -> Signed | None:
        """Add a signature to a call, and return it. A call of an agent without a key stays as it is."""
        if agent.public_key is None:
            return None
        target, digest = request.url.raw_path.decode("ascii"), request.headers.get(CONTENT_DIGEST, "")
        components = call_components(request.method, target, agent.public_key, digest)
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        call, headers = sign_call(self._identity, components, now=self._clock.now(), nonce=nonce)
        request.headers.update(headers | {RECIPIENT: agent.public_key})
        return call
