"""The harness of roles works in a run of a few seconds, and finds what it looks for."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api import KEY, running_api
from tests.harnesses.authz.callers import OWN, Caller
from tests.harnesses.authz.walk import tried, unmarked, walk

MARKED: dict[str, Any] = {"x-tcsfeel-role": "operator", "responses": {"401": {}, "403": {}}}
VIEWER = Caller("a viewer", "Bearer x", "viewer")
STRANGER = Caller("a stranger", None)


async def test_every_operation_admits_exactly_the_documented_callers(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url) as api:
        api.system.feed.stop()  # or a stream of events would not end

        async def pass_time() -> None:
            api.clock.advance(1)

        outcome = await walk(api.http, api.anonymous, KEY, pass_time)
    assert outcome.problems == []
    assert outcome.operations >= 45
    assert outcome.calls == outcome.operations * 16
    assert 0.2 * outcome.calls < outcome.allowed < 0.6 * outcome.calls


def test_an_operation_without_a_mark_is_found() -> None:
    for operation in ({}, {"x-tcsfeel-role": "root"}):
        assert unmarked("GET", "/v1/x", operation) == ["GET /v1/x does not say which role it needs"]
    assert unmarked("GET", "/v1/x", MARKED) == unmarked("GET", "/healthz", {}) == []


@pytest.mark.parametrize(
    ("caller", "answer", "problem"),
    [
        (VIEWER, (403, "forbidden"), None),
        (VIEWER, (200, ""), "200 , not 403 forbidden"),
        (VIEWER, (401, "unauthenticated"), "401 unauthenticated, not 403 forbidden"),
        (VIEWER, (403, "invitation-needed"), "403 invitation-needed, not 403 forbidden"),
        (STRANGER, (401, "unauthenticated"), None),
        (STRANGER, (403, "forbidden"), "403 forbidden, not 401 unauthenticated"),
        (STRANGER, (422, "invalid"), "422 invalid, not 401 unauthenticated"),
        (Caller("x", "Bearer x", "admin"), (422, "invalid"), None),
        (Caller("x", "Bearer x", "admin"), (403, "forbidden"), "403 forbidden, but the caller may call it"),
        (Caller("x", "Bearer x", "admin"), (500, "internal"), "500 internal, but the caller may call it"),
        (Caller("x", "Bearer x", "agent", OWN), (422, "invalid"), "422 invalid, not 403 forbidden"),
    ],
)
async def test_an_answer_that_is_not_the_documented_one_is_found(
    caller: Caller, answer: tuple[int, str], problem: str | None
) -> None:
    def answered(_request: httpx2.Request) -> httpx2.Response:
        body = {"type": f"urn:tcsfeel:problem:{answer[1]}"}
        headers = {"Content-Type": "application/problem+json"} if answer[1] else {}
        return httpx2.Response(answer[0], json=body, headers=headers)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answered), base_url="http://x") as http:
        problems, _ = await tried(http, "POST", "/v1/clients/{client_id}/breaker/open", MARKED, caller)
    assert [one.partition(": ")[2] for one in problems] == ([] if problem is None else [problem])


def test_an_agent_may_only_what_is_marked_for_its_own_client() -> None:
    own = MARKED | {"x-tcsfeel-own-client": True}
    assert Caller("x", "", "agent", OWN).may(own, OWN)
    assert not Caller("x", "", "agent", "other").may(own, OWN)
    assert not Caller("x", "", "agent", OWN).may(own, None)
    assert not Caller("x", "", "agent", OWN).may(MARKED, OWN)
    assert Caller("x", None).may({"x-tcsfeel-role": "none"}, None)
