"""The role that each route needs, as a mark in its OpenAPI entry.

A route of ``/v1`` is marked by `openapi_extra=Needs.operator`, or `Needs.operator | json_body(…)` with other entries. A
route without a mark cannot be made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from app.domain.errors import Forbidden
from app.domain.principals import LOCAL_CALLER, Principal, Role

ROLE = "x-tcsfeel-role"
OWN_CLIENT = "x-tcsfeel-own-client"
NOBODY = "none"
"""The mark of a route that everybody may call, without a key."""
INVITATION = "invitation"
"""The mark of a route whose callers send the secret of an invitation instead of a key. The route checks it itself."""


class Needs:
    """The marks of routes. A role includes the roles below it: `admin`, `operator`, `viewer`."""

    no_key: ClassVar[dict[str, Any]] = {ROLE: NOBODY}
    invitation: ClassVar[dict[str, Any]] = {ROLE: INVITATION}
    viewer: ClassVar[dict[str, Any]] = {ROLE: "viewer"}
    operator: ClassVar[dict[str, Any]] = {ROLE: "operator"}
    admin: ClassVar[dict[str, Any]] = {ROLE: "admin"}
    own_client: ClassVar[dict[str, Any]] = {ROLE: "agent", OWN_CLIENT: True}
    viewer_or_own_client: ClassVar[dict[str, Any]] = {ROLE: "viewer", OWN_CLIENT: True}
    operator_or_own_client: ClassVar[dict[str, Any]] = {ROLE: "operator", OWN_CLIENT: True}


@dataclass(frozen=True, slots=True)
class Mark:
    """Who may call a route.

    Attributes:
        role: the lowest role of people and programs that may; None if everybody may, without a key. With the role
            ``agent`` none of them may, except programs on this machine where no key is asked for.
        own_client: whether agents may, for the client in the path that is their own.
        invitation: whether callers send the secret of an invitation instead of a key.
    """

    role: Role | None
    own_client: bool
    invitation: bool = False

    @classmethod
    def of(cls, entry: Mapping[str, Any], route: str) -> "Mark":
        """Read the mark from the OpenAPI entry of a route. Raises `TypeError` if it has none."""
        role = entry.get(ROLE)
        if role not in {NOBODY, INVITATION, *get_args(Role)}:
            raise TypeError(f"the route {route} does not say which role it needs: mark it with app.http.roles.Needs")
        without_key = role in {NOBODY, INVITATION}
        return cls(None if without_key else role, bool(entry.get(OWN_CLIENT)), role == INVITATION)

    def check(self, caller: Principal, parameters: Mapping[str, Any]) -> None:
        """Raise `Forbidden` unless the caller may call the route with these parameters of the path."""
        allowed = caller == LOCAL_CALLER if self.role == "agent" else self.role is None or caller.may(self.role)
        if allowed:
            return
        if not (self.own_client and caller.owns(parameters.get("client_id"))):
            raise Forbidden(caller.role, self.role or "", caller.client_id)

    def sentence(self) -> str:
        """Say who may call the route, for its description."""
        if self.invitation:
            return "It needs the secret of an invitation in place of a key."
        if self.role is None:
            return "It needs no key."
        if self.role == "agent":
            return "It needs the key of the client's own agent."
        agents = ", or the key of the client's own agent" if self.own_client else ""
        return f"It needs a key with the role `{self.role}`{agents}."
