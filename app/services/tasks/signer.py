"""Sign the calls of agents that have a key.

A device knows the key that the control plane had when it enrolled. After a newer secret has been put in front of the
others, calls are signed with the newest secret's key. A device that knows an older one refuses that call and names the
key that it knows; from then on its calls are signed with that key, as long as the secret is still there.
"""

import re
import secrets
from collections.abc import Sequence
from http import HTTPStatus

from app.clock import Clock
from app.domain.clients import Endpoint
from app.services.tasks.requests import Request
from app.services.tasks.responses import Response
from tcsfeel.identity import Identity
from tcsfeel.wire.grants import Grant, granted_by_key
from tcsfeel.wire.signatures import (
    RECIPIENT,
    Signed,
    call_components,
    digest_header,
    read_wanted,
    sign_answer,
    sign_call,
    task_components,
)

_NONCE_BYTES = 16
_KEY = re.compile(r'\bkeyid="([A-Za-z0-9_-]{43})"')
_MOST = 100_000  # devices whose older keys are remembered


class Signer:
    """Signs calls with the keys of this control plane. All its replicas have the same `seeds`, the newest first."""

    def __init__(self, seeds: Sequence[bytes], clock: Clock) -> None:
        self._newest, *older = map(Identity, seeds)
        self._keys = {identity.public_key: identity for identity in (*older, self._newest)}
        self._known: dict[str, Identity] = {}  # by the keys of devices that do not know the newest one
        self._clock = clock

    def sign(self, request: Request, agent: Endpoint) -> Signed | None:
        """Add a signature to a call, and return it. A call of an agent without a key stays as it is.

        Raises ValueError if the agent's URL cannot be called.
        """
        if agent.public_key is None:
            return None
        digest = request.headers.get(digest_header(request.method), "")
        components = call_components(request.method, request.target, agent.public_key, digest)
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        identity = self._known.get(agent.public_key, self._newest)
        call, headers = sign_call(identity, components, now=self._clock.now(), nonce=nonce)
        request.headers.update(headers | {RECIPIENT: agent.public_key})
        return call

    def sign_task(self, agent: Endpoint, digest: str, wanted: str) -> tuple[str, dict[str, str]]:
        """Sign a task for an agent that has asked for it, as `wanted` says: the value of its ``Accept-Signature``.

        Returns the text that was signed and the headers of the signature; both are empty if the agent has no key, or
        wants no signature.
        """
        asked = read_wanted(wanted)
        if agent.public_key is None or asked is None:
            return "", {}
        key, nonce = asked
        identity = self._keys.get(key, self._newest)
        components = task_components(digest, agent.public_key)
        signed, headers = sign_answer(identity, components, now=self._clock.now(), nonce=nonce)
        return signed.base, headers | {RECIPIENT: agent.public_key}

    def grant(self, agent: Endpoint, task_id: str, digest: bytes, expires: int) -> Grant | None:
        """Grant a task of an agent to its relay, with the key that the agent knows. None if the agent has no key."""
        if agent.public_key is None:
            return None
        return granted_by_key(self._known.get(agent.public_key, self._newest), task_id, digest, expires)

    def learn(self, agent: Endpoint, call: Signed | None, response: Response) -> bool:
        """Take note of the key that an agent knows, if it refused a call for that.

        Returns True if this control plane has that key and did not sign the call with it, so that the call can be made
        again.
        """
        if call is None or agent.public_key is None or response.status != HTTPStatus.UNAUTHORIZED:
            return False
        named = _KEY.search(response.header("WWW-Authenticate"))
        identity = None if named is None else self._keys.get(named[1])
        if identity is None or identity.public_key == call.key:
            return False
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[agent.public_key] = identity
        return True
