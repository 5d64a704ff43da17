"""The kinds of callers, and what the OpenAPI document says about each of them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.e2e.servers import call

OWN, FOREIGN = "edge-7", "edge-8"
"""The client in the paths, and another one."""
RANKS = {"viewer": 1, "operator": 2, "admin": 3}


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller with a header.

    Attributes:
        role: the role of its key; None if the key is not valid, `invitation` for the secret of one.
        client_id: the client of an agent.
    """

    name: str
    authorization: str | None
    role: str | None = None
    client_id: str | None = None

    def may(self, operation: Mapping[str, Any], client_id: str | None) -> bool:
        """Tell whether the document says that the caller may call an operation, on a client if there is one."""
        needed = operation["x-tcsfeel-role"]
        if needed == "none":
            return True
        if "invitation" in {needed, self.role}:
            return bool(needed == self.role)
        if self.role == "agent":
            return bool(operation.get("x-tcsfeel-own-client")) and client_id == self.client_id
        if needed == "agent":
            return False
        return self.role is not None and RANKS[self.role] >= RANKS[needed]


async def callers(api: httpx2.AsyncClient, admin_key: str, pass_time: Callable[[], Awaitable[object]]) -> list[Caller]:
    """Make one caller of each kind. Lets time pass until the key that expires has expired."""
    expiring = await call(api, "POST", "/v1/keys", json={"name": "x", "role": "admin", "lifetime_seconds": 1})
    revoked = await call(api, "POST", "/v1/keys", json={"name": "x", "role": "admin"})
    await call(api, "DELETE", f"/v1/keys/{revoked['id']}")
    found = [
        Caller("no key", None),
        Caller("an empty header", ""),
        Caller("a key without a scheme", admin_key),
        Caller("a wrong scheme", f"Basic {admin_key}"),
        Caller("a wrong key", f"Bearer {admin_key}x"),
        Caller("an invented key", f"Bearer tcsfeel_admin_{'0' * 12}_{'0' * 48}"),
        Caller("a forged key", f"Bearer {revoked['key'][:-48]}{'0' * 48}"),
        Caller("an expired key", f"Bearer {expiring['key']}"),
        Caller("a revoked key", f"Bearer {revoked['key']}"),
    ]
    invitation = await call(api, "POST", "/v1/invitations", json={})
    found.append(Caller("a device with an invitation", f"Bearer {invitation['secret']}", "invitation"))
    for name, client_id in (("the agent of the client", OWN), ("another agent", FOREIGN)):
        made = await call(api, "POST", "/v1/keys", json={"name": name, "role": "agent", "client_id": client_id})
        found.append(Caller(name, f"Bearer {made['key']}", "agent", client_id))
    for role in RANKS:  # after the agents, whose keys are revoked if the client is removed
        made = await call(api, "POST", "/v1/keys", json={"name": role, "role": role})
        found.append(Caller(f"a key of the role {role}", f"Bearer {made['key']}", role))
    found.append(Caller("the admin key", f"Bearer {admin_key}", "admin"))
    while (await call(api, "GET", f"/v1/keys/{expiring['id']}"))["state"] != "expired":
        await pass_time()
    return found
