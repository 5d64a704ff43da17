"""Roles, and what each may do."""

import pytest

from app.domain.principals import ADMIN, LOCAL_CALLER, Principal, Role

AGENT = Principal("agent", "edge-7", "k", "edge-7")


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("viewer", ["viewer"]),
        ("operator", ["viewer", "operator"]),
        ("admin", ["viewer", "operator", "admin"]),
        ("agent", []),
    ],
)
def test_a_role_includes_the_roles_below_it_and_an_agent_has_none_of_them(role: Role, allowed: list[Role]) -> None:
    roles: list[Role] = ["viewer", "operator", "admin"]
    assert [needed for needed in roles if Principal(role, "x").may(needed)] == allowed
    assert not AGENT.may("agent"), "its role alone allows it nothing"


def test_only_an_agent_owns_a_client_and_only_its_own() -> None:
    assert AGENT.owns("edge-7")
    assert not AGENT.owns("edge-8")
    assert not AGENT.owns(None)
    assert not Principal("admin", "x", "k", "edge-7").owns("edge-7")
    assert not Principal("agent", "x", "k", None).owns(None)


def test_the_admin_key_and_a_local_caller_may_do_everything() -> None:
    assert ADMIN.may("admin")
    assert LOCAL_CALLER.may("admin")
