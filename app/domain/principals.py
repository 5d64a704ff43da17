"""Those who call the API, and what each role may do."""

from dataclasses import dataclass
from typing import Literal

from app.origins import ADMIN_KEY, LOCAL

Role = Literal["agent", "viewer", "operator", "admin"]

RANKS: dict[Role, int] = {"agent": 0, "viewer": 1, "operator": 2, "admin": 3}
"""Each role may do what the roles with lower ranks may do. An agent may only use its own client."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller that has shown who it is.

    Attributes:
        role: what it may do.
        name: the name of its key, which events show as their actor.
        key_id: the id of its key; None for the admin key, and where no key is asked for.
        client_id: the client that it may use, if it is an agent.
    """

    role: Role
    name: str
    key_id: str | None = None
    client_id: str | None = None

    def may(self, needed: Role) -> bool:
        """Tell whether the role of this caller includes another one."""
        return self.role != "agent" and RANKS[self.role] >= RANKS[needed]

    def owns(self, client_id: str | None) -> bool:
        """Tell whether the caller is the agent of a client."""
        return self.role == "agent" and self.client_id is not None and self.client_id == client_id


ADMIN = Principal("admin", ADMIN_KEY)
"""A caller with the admin key."""
LOCAL_CALLER = Principal("admin", LOCAL)
"""A caller on the server's machine, where no key is asked for."""
