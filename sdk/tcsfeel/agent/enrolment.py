"""Enrol clients with an invitation, or find what they got when they enrolled before.

A device that gets no answer repeats its request with the same public key, which uses up the invitation only once.
"""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2

from tcsfeel.agent.connecting import connected
from tcsfeel.agent.errors import AgentError, EnrolmentRefused
from tcsfeel.agent.host import check_client_id
from tcsfeel.agent.insisting import Sleep, detail_of, in_parallel, insist
from tcsfeel.agent.keyring import Credentials, Keyring, usual_directory
from tcsfeel.agent.signing import Signing
from tcsfeel.identity import KEY_FORM, Identity, written
from tcsfeel.rest.calls import bearer, call_json
from tcsfeel.rest.exchange import Patience
from tcsfeel.rest.paths import path
from tcsfeel.rest.problems import Refused
from tcsfeel.rest.transport import AsyncTransport
from tcsfeel.wire.enrolment import invitation_of, proof_text

_log = logging.getLogger(__name__)

_API_KEY = re.compile(r"[\x21-\x7e]{16,256}")
_PUBLIC_KEY = re.compile(KEY_FORM)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The clients of a process that have enrolled, and the directory in which their agents keep their state."""

    state: Path | None
    credentials: Mapping[str, Credentials] = field(default_factory=lambda: MappingProxyType({}))
    identities: Mapping[str, Identity] = field(default_factory=lambda: MappingProxyType({}))

    def key(self, client_id: str) -> str | None:
        """Return the client's own API key; None if it has not enrolled."""
        found = self.credentials.get(client_id)
        return None if found is None else found.key

    def signing(self, client_id: str) -> Signing | None:
        """Return the keys with which the client's agent checks calls and signs its answers, if it has enrolled."""
        found = self.credentials.get(client_id)
        return None if found is None else Signing(self.identities[client_id], found.server_public_key)


async def enrolled(
    client_ids: Sequence[str],
    *,
    server_url: str | None,
    api_key: str | None,
    invite: str | None,
    state: Path | None,
    ca_file: Path | None = None,
) -> Enrolled:
    """Return what the clients have got. Clients that have no valid key enrol with the invitation.

    Without an invitation, those that have enrolled before use the keys that they have. If there is an `api_key`, all
    clients use that one, and none enrols.

    Args:
        client_ids: the ids of the clients.
        server_url: the control plane's base URL; None uses no keys at all.
        api_key: the key that was given to the agents.
        invite: the secret of the invitation.
        state: the directory with the state of the agents; by default the one of this user.
        ca_file: as for `serve`.

    Raises:
        AgentError: an id, the URL or the secret cannot be one, or a file cannot be used.
        EnrolmentRefused: the control plane refuses to enrol one of the clients.
    """
    if server_url is None or api_key is not None:
        return Enrolled(state)
    for client_id in client_ids:
        check_client_id(client_id)
    keyring = Keyring(state or usual_directory())
    if invite is None:
        found = await asyncio.to_thread(lambda: [keyring.find(client_id) for client_id in client_ids])
        known = {one.client_id: one for one in found if one is not None}
    else:
        async with connected(server_url, None, ca_file) as http:
            known = await enrol(client_ids, invite, keyring, http)
    identities = await asyncio.to_thread(lambda: {client_id: keyring.identity(client_id) for client_id in known})
    return Enrolled(keyring.directory if known else state, known, identities)


def has_enrolled(client_id: str, state: Path | None = None) -> bool:
    """Tell whether a client has enrolled before. `state` is as for `enrolled`. Raises `AgentError`."""
    check_client_id(client_id)
    return Keyring(state or usual_directory()).find(client_id) is not None


async def enrol(
    client_ids: Sequence[str], invite: str, keyring: Keyring, http: httpx2.AsyncClient, *, sleep: Sleep = asyncio.sleep
) -> dict[str, Credentials]:
    """Enrol those of the clients whose keys are missing or not valid any more, and return what all of them have."""
    invitation_id = invitation_of(invite.strip())
    if invitation_id is None:
        raise AgentError("the invitation should be a text that begins with tcsfeel_invitation_, as an operator made it")
    transport = AsyncTransport(http, Patience(attempts=1))  # `insist` decides which requests are repeated

    async def one(client_id: str) -> Credentials:
        known = await asyncio.to_thread(keyring.find, client_id)
        if known is not None and await _is_valid(known, transport, sleep):
            return known
        identity = await asyncio.to_thread(keyring.identity, client_id)
        body = _request(client_id, identity, invitation_id)
        try:
            answer = await insist(
                transport,
                lambda: call_json("POST", "/v1/enrolments", body, headers=bearer(invite.strip())),
                sleep=sleep,
            )
        except Refused as error:
            raise EnrolmentRefused(client_id, error.status, detail_of(error)) from None
        credentials = _credentials(answer, client_id, invitation_id)
        await asyncio.to_thread(keyring.keep, credentials)
        _log.info("client %s has enrolled", client_id, extra={"client_id": client_id})
        return credentials

    return {found.client_id: found for found in await in_parallel(one, client_ids)}


async def _is_valid(known: Credentials, transport: AsyncTransport, sleep: Sleep) -> bool:
    """Tell whether the control plane still accepts a client's key."""
    where = path("/v1/clients/{client_id}", known.client_id)
    try:
        await insist(transport, lambda: call_json("GET", where, headers=bearer(known.key)), sleep=sleep)
    except Refused as error:
        return error.status != HTTPStatus.UNAUTHORIZED
    return True


def _request(client_id: str, identity: Identity, invitation_id: str) -> dict[str, str]:
    text = proof_text(invitation_id=invitation_id, client_id=client_id, public_key=identity.public_key)
    return {"client_id": client_id, "public_key": identity.public_key, "proof": written(identity.sign(text))}


def _credentials(answer: Any, client_id: str, invitation_id: str) -> Credentials:
    """Read the answer to an enrolment. Raises `AgentError`."""
    found = answer if isinstance(answer, dict) else {}
    key, public_key = found.get("key"), found.get("server_public_key")
    if (
        found.get("client_id") != client_id
        or not (isinstance(key, str) and _API_KEY.fullmatch(key))
        or not (isinstance(public_key, str) and _PUBLIC_KEY.fullmatch(public_key))
    ):
        raise AgentError(f"the answer to the enrolment of client {client_id} has no key: is this a control plane?")
    return Credentials(client_id, key, invitation_id, public_key)
