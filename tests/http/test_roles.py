"""The marks of routes: which role each needs."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

from app.domain.errors import Forbidden
from app.domain.principals import ADMIN, Principal
from app.http.roles import OWN_CLIENT, ROLE, Mark, Needs
from app.http.routes import ApiRoute
from app.main import create_app
from tests.planes import settings

AGENT = Principal("agent", "x", "k", "edge-7")


def test_a_route_without_a_mark_cannot_be_made() -> None:
    router = APIRouter(route_class=ApiRoute)

    async def handler() -> None:
        """Do nothing."""

    for extra in (None, {}, {ROLE: "root"}, {ROLE: None}):
        with pytest.raises(TypeError, match=r"the route .*/x does not say which role it needs"):
            router.get("/x", openapi_extra=extra)(handler)
    router.get("/x", openapi_extra=Needs.viewer)(handler)


def test_a_mark_admits_roles_that_are_high_enough() -> None:
    mark = Mark.of(Needs.operator, "GET /x")
    mark.check(ADMIN, {})
    mark.check(Principal("operator", "x"), {})
    for caller in (Principal("viewer", "x"), AGENT):
        with pytest.raises(Forbidden):
            mark.check(caller, {"client_id": "edge-7"})
    Mark.of(Needs.no_key, "GET /x").check(Principal("viewer", "x"), {})


def test_a_mark_admits_the_agent_of_the_client_in_the_path() -> None:
    mark = Mark.of(Needs.viewer_or_own_client, "GET /x")
    mark.check(AGENT, {"client_id": "edge-7"})
    mark.check(Principal("viewer", "x"), {"client_id": "edge-7"})
    for parameters in ({"client_id": "edge-8"}, {}, {"training_id": "edge-7"}):
        with pytest.raises(Forbidden, match="'edge-7'"):
            mark.check(AGENT, parameters)


def test_the_document_says_who_may_call_each_operation(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path, f"sqlite+aiosqlite:///{tmp_path}/none.db"))
    document = app.openapi()
    assert app.openapi() == document
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            place, described = f"{method} {path}", operation["description"]
            assert (ROLE in operation) == path.startswith("/v1/"), place
            if ROLE in operation:
                role: Any = operation[ROLE]
                others = {
                    "none": "It needs no key.",
                    "invitation": "It needs the secret of an invitation in place of a key.",
                }
                others["agent"] = "It needs the key of the client's own agent."
                sentence = others.get(role, f"It needs a key with the role `{role}`")
                assert described.count(sentence) == 1, place
                assert ("401" in operation["responses"]) == (role != "none"), place
                assert ("403" in operation["responses"]) == (role not in {"none", "invitation"}), place
                assert not operation.get(OWN_CLIENT) or "{client_id}" in path, place
