"""Enrol devices, and make the keys and invitations that hostile callers use."""

import asyncio
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Any

import httpx2

from app.services.access.keys import AdminKey
from app.services.access.secrets import ServerSecret
from app.settings import Settings
from tcsfeel.identity import Identity, written
from tcsfeel.wire.enrolment import invitation_of, proof_text
from tests.e2e.servers import Server
from tests.harnesses.hostile.agents import ENROLLED, REVOKED, SIGNED
from tests.harnesses.hostile.calling import call
from tests.harnesses.hostile.signing import device

_ENROLMENTS = "/v1/enrolments"


async def invite(api: httpx2.AsyncClient, uses: int, pattern: str) -> str:
    """Make an invitation, and return its secret."""
    made = await call(api, "POST", "/v1/invitations", json={"uses": uses, "id_pattern": pattern})
    return str(made["secret"])


async def enrol(api: httpx2.AsyncClient, secret: str, client_id: str, identity: Identity) -> dict[str, Any]:
    """Enrol a device, and return what it gets."""
    text = proof_text(invitation_id=invitation_of(secret) or "", client_id=client_id, public_key=identity.public_key)
    body = {"client_id": client_id, "public_key": identity.public_key, "proof": written(identity.sign(text))}
    found: dict[str, Any] = await call(
        api, "POST", _ENROLMENTS, json=body, headers={"Authorization": f"Bearer {secret}"}
    )
    return found


async def enrol_hostile(
    api: httpx2.AsyncClient, period: int, names: Collection[str], enrolled: set[str]
) -> dict[str, str]:
    """Enrol those devices of `names` that have keys, with the keys of a period, and revoke the key of one.

    Devices that have `enrolled` in an earlier period and were removed since need a replacement; the others are added
    to them. Returns their keys.
    """
    invitation = await invite(api, len(ENROLLED), "s-*")
    keys = {}
    for name in filter(names.__contains__, ENROLLED):
        secret = invitation
        if name in enrolled:
            made = await call(api, "POST", f"/v1/clients/{name}/replacement", json={})
            secret = made["secret"]
        found = await enrol(api, secret, name, device(name, period))
        enrolled.add(name)
        keys[name] = str(found["key"])
        if name == REVOKED.name:
            await call(api, "DELETE", f"/v1/keys/{found['key_id']}")
    return keys


def seed_of(server: Server, data: Path) -> str:
    """Return the private key with which a server signs its calls, in hexadecimal digits."""
    given = Settings(data_dir=data, auth={"admin_key": server.key})
    return ServerSecret.load(given, AdminKey.load(given)).derive("signing").hex()


async def bad_keys(api: httpx2.AsyncClient, of_agents: dict[str, str], period: int) -> dict[str, str]:
    """Make what hostile callers show, by what it is: keys and invitations, some of them good for a little."""
    made = {
        name: await call(api, "POST", "/v1/keys", json={"name": f"hostile {name}", "role": role} | more)
        for name, role, more in (
            ("operator", "operator", {}),
            ("viewer", "viewer", {}),
            ("revoked", "admin", {}),
            ("expired", "admin", {"lifetime_seconds": 1}),
        )
    }
    await call(api, "DELETE", f"/v1/keys/{made['revoked']['id']}")
    redeemed = await invite(api, 1, "x-*")
    await enrol(api, redeemed, f"x-redeemed-{period}", Identity.make())
    opened = await call(api, "POST", "/v1/invitations", json={"uses": 1000})
    ended = await call(api, "POST", "/v1/invitations", json={"uses": 1000})
    await call(api, "DELETE", f"/v1/invitations/{ended['id']}")
    while (await call(api, "GET", f"/v1/keys/{made['expired']['id']}"))["state"] != "expired":  # noqa: ASYNC110  (the API has no such event)
        await asyncio.sleep(0.1)
    agent = SIGNED[0].name
    honest = await call(api, "GET", "/v1/clients/s-honest-0")
    return {name: str(key["key"]) for name, key in made.items()} | {
        "forged": made["operator"]["key"][:-48] + secrets.token_hex(24),
        "guessed": f"tcsfeel_admin_{secrets.token_hex(6)}_{secrets.token_hex(24)}",
        "guessed admin key": secrets.token_urlsafe(24),
        "agent": of_agents[agent],
        "agent id": agent,
        "revoked agent": of_agents[REVOKED.name],
        "agent's public key": honest["public_key"],
        "invitation": opened["secret"],
        "revoked invitation": ended["secret"],
        "redeemed invitation": redeemed,
        "forged invitation": opened["secret"][:-64] + secrets.token_hex(32),
        "guessed invitation": f"tcsfeel_invitation_{secrets.token_hex(8)}_{secrets.token_hex(32)}",
    }
