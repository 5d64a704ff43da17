"""What agents have answered is shown to those who operate the federation, and not to viewers and agents."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.breaker import Breaker
from app.domain.failures import Failure, Failures
from app.domain.identity import DOUBTED, SHUT_OUT, SILENT, UNPROVEN, Doubt, Identity
from app.domain.principals import ADMIN, Principal, Role
from app.domain.progress import Progress
from app.domain.rounds import Participation
from app.http.quotations import HIDDEN, shown_to
from app.store.selections import packed
from tcsfeel.contract.clients import FailuresOut
from tcsfeel.selection.types import Plan, Selection, Skipped
from tests.api import Api
from tests.store.samples import NOW, a_round, client, training

SAID = "the secret of another service"
DOUBT = Doubt(url="http://a", public_key="key", since=NOW, reason=SAID)
DOUBTFUL: dict[str, Any] = {"public_key": "key", "identity": Identity(doubt=DOUBT)}
PATHS = [
    "/v1/clients", "/v1/clients/a", "/v1/clients/a/breaker", "/v1/trainings", "/v1/trainings/t",
    "/v1/trainings/t/rounds", "/v1/trainings/t/rounds/1",
]  # fmt: skip


@pytest.fixture
async def quoting(sqlite_api: Api) -> Api:
    """An API whose clients, rounds and trainings quote an agent wherever they can."""
    reason = f"the agent answered 500: {SAID}"
    failure = Failure(at=NOW, phase="fit", training_id="t", round=1, reason=reason)
    failed = Participation(client_id="a", status="failed", reason=reason, traceback=f"Traceback: {SAID}")
    async with sqlite_api.system.db.begin() as tx:
        breaker = replace(
            client().breaker, last_failures=(failure,), cause="3 failures in a row", state="open", opened_at=NOW
        )
        failures = Failures(faulty=1, last_faulty=failure)
        await tx.clients.add([client(breaker=breaker, failures=failures, **DOUBTFUL)])
        progress = Progress(state="waiting", since=NOW, reason=reason)
        stopped = training(status="failed", stop_reason="too_many_failed_rounds", stop_detail=reason, progress=progress)
        await tx.trainings.add(stopped)
        await tx.rounds.add(a_round(status="abandoned", failure_reason=reason, participations=(failed,)))
    return sqlite_api


@pytest.mark.parametrize("path", PATHS)
async def test_a_viewer_sees_that_something_failed_but_not_what_an_agent_answered(quoting: Api, path: str) -> None:
    viewer = (await quoting.system.keys.create(name="reader", role="viewer")).text
    full = await quoting.http.get(path)
    read = await quoting.anonymous.get(path, headers={"Authorization": f"Bearer {viewer}"})
    assert (full.status_code, read.status_code) == (200, 200)
    assert SAID in full.text
    assert SAID not in read.text
    assert HIDDEN in read.text
    assert_same(full.json(), read.json())


def assert_same(full: object, read: object) -> None:
    """Compare two answers, in which the same places have values, apart from texts that are hidden."""
    if isinstance(full, dict) and isinstance(read, dict):
        assert full.keys() == read.keys()
        for name, value in full.items():
            assert_same(value, read[name])
    elif isinstance(full, list) and isinstance(read, list):
        for one, other in zip(full, read, strict=True):
            assert_same(one, other)
    else:
        assert read in {full, HIDDEN, DOUBTED} if isinstance(full, str) else read == full


async def test_what_a_training_reached_is_no_quotation(sqlite_api: Api) -> None:
    reached = training(status="completed", stop_reason="target", stop_detail="rmse 0.2 reached the target 0.2")
    async with sqlite_api.system.db.begin() as tx:
        await tx.trainings.add(reached)
    viewer = (await sqlite_api.system.keys.create(name="reader", role="viewer")).text
    read = await sqlite_api.anonymous.get("/v1/trainings/t", headers={"Authorization": f"Bearer {viewer}"})
    assert read.json()["stop_detail"] == reached.stop_detail


@pytest.mark.parametrize("role", ["agent", "viewer"])
def test_only_operators_see_quotations(role: Role) -> None:
    failure = Failure(at=NOW, phase="fit", training_id="t", round=1, reason=SAID)
    answer = FailuresOut.of(Failures(faulty=1, last_faulty=failure))
    for by in (ADMIN, Principal("operator", "anna")):
        assert shown_to(by, answer) == answer
    hidden = shown_to(Principal(role, "a", client_id="a"), answer).last_faulty
    assert hidden is not None
    assert hidden.reason == HIDDEN


async def test_an_agent_does_not_read_the_answers_of_the_address_that_it_has_registered(quoting: Api) -> None:
    key = (await quoting.system.keys.create(name="a", role="agent", client_id="a")).text
    agent = {"Authorization": f"Bearer {key}"}
    profile = {"url": "http://a", "data_size": 10, "compute_capacity": 1.0, "bandwidth": 8.0, "latency": 5.0}
    answers = [
        await quoting.anonymous.get("/v1/clients/a", headers=agent),
        await quoting.anonymous.patch("/v1/clients/a", headers=agent, json={"latency": 6.0}),
        await quoting.anonymous.put("/v1/clients/a", headers=agent, json=profile),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert SAID not in answer.text
        assert answer.json()["failures"]["last_faulty"]["reason"] == HIDDEN
    assert [answer.json()["unproven"] for answer in answers] == [DOUBTED] * 3
    own = await quoting.http.get("/v1/clients/a")
    assert own.json()["unproven"] == f"unproven: {SAID}"


@pytest.mark.parametrize(("shut_out", "said"), [(False, UNPROVEN), (True, SHUT_OUT)])
async def test_an_agent_reads_why_its_client_gets_no_tasks_where_nothing_is_quoted(
    sqlite_api: Api, shut_out: bool, said: str
) -> None:
    key = (await sqlite_api.system.keys.create(name="a", role="agent", client_id="a")).text
    async with sqlite_api.system.db.begin() as tx:
        await tx.clients.add([client(public_key="key", identity=Identity(shut_out=shut_out))])
    read = await sqlite_api.anonymous.get("/v1/clients/a", headers={"Authorization": f"Bearer {key}"})
    assert read.json()["unproven"] == said


async def test_only_operators_read_how_an_address_failed_to_answer(sqlite_api: Api) -> None:
    silent = Doubt(url="http://a", public_key="key", since=NOW, reason="the agent could not be reached", answered=False)
    async with sqlite_api.system.db.begin() as tx:
        await tx.clients.add([client(public_key="key", identity=Identity(doubt=silent))])
    keys = sqlite_api.system.keys
    made = [await keys.create(name="a", role="agent", client_id="a"), await keys.create(name="reader", role="viewer")]
    for key in made:
        read = await sqlite_api.anonymous.get("/v1/clients/a", headers={"Authorization": f"Bearer {key.text}"})
        assert read.json()["unproven"] == SILENT
    full = await sqlite_api.http.get("/v1/clients/a")
    assert full.json()["unproven"] == f"{SILENT}: the agent could not be reached"


async def test_a_plan_says_why_clients_are_skipped_without_what_they_answered(sqlite_api: Api) -> None:
    now = sqlite_api.clock.now()
    failure = Failure(at=now, phase="fit", reason=SAID, kind="unreachable")
    shut = Breaker(
        state="open", opened_at=now, retry_at=now + 60, cause="3 failures in a row", last_failures=(failure,)
    )
    async with sqlite_api.system.db.begin() as tx:
        healthy = [client(name) for name in ("c", "d", "e")]
        await tx.clients.add([client("a", **DOUBTFUL), client("b", breaker=shut), *healthy])
    keys = sqlite_api.system.keys
    viewer = {"Authorization": f"Bearer {(await keys.create(name='reader', role='viewer')).text}"}
    agent = {"Authorization": f"Bearer {(await keys.create(name='a', role='agent', client_id='a')).text}"}
    plan, refused = ({"min_clients": count, "max_clients": count} for count in (3, 5))
    for who in (viewer, sqlite_api.http.headers):
        planned = await sqlite_api.anonymous.post("/v1/selections", headers=who, json=plan)
        reasons = {one["client_id"]: one["reason"] for one in planned.json()["skipped"]}
        assert reasons["a"] == DOUBTED
        assert reasons["b"].endswith("in a row (the last in fit, unreachable; the client's breaker lists the reasons)")
        infeasible = await sqlite_api.anonymous.post("/v1/selections", headers=who, json=refused)
        assert infeasible.status_code == 409
        assert all(reason in infeasible.json()["detail"] for reason in reasons.values())
        assert SAID not in planned.text + infeasible.text
    assert (await sqlite_api.anonymous.post("/v1/selections", headers=agent, json=plan)).status_code == 403


async def test_a_selection_that_was_stored_with_quotations_is_read_without_them(quoting: Api) -> None:
    plain = "its status is down: the server last heard from it at noon"
    reasons = [f"its breaker is open: after 3 failures in a row (the last: fit: {SAID})", f"unproven: {SAID}", plain]
    skipped = tuple(Skipped(f"c{number}", reason) for number, reason in enumerate(reasons))
    stored = Selection("random", (), skipped, 0.0, None, 1.0, 0.0, Plan("star", {}))
    async with quoting.system.db.begin() as tx:
        await tx.selections.add("t", 1, packed(stored))
    path = "/v1/trainings/t/rounds/1/selection"
    keys = quoting.system.keys
    viewer = {"Authorization": f"Bearer {(await keys.create(name='reader', role='viewer')).text}"}
    agent = {"Authorization": f"Bearer {(await keys.create(name='a', role='agent', client_id='a')).text}"}
    assert [one["reason"] for one in (await quoting.http.get(path)).json()["skipped"]] == reasons
    read = await quoting.anonymous.get(path, headers=viewer)
    assert [one["reason"] for one in read.json()["skipped"]] == [
        "its breaker is open: after 3 failures in a row",
        DOUBTED,
        plain,
    ]
    assert (await quoting.anonymous.get(path, headers=agent)).status_code == 403
