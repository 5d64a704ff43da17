"""What agents have answered is shown to those who operate the federation, and not to those who only read."""

from dataclasses import replace

import pytest

from app.domain.failures import Failure, Failures
from app.domain.principals import ADMIN, Principal
from app.domain.progress import Progress
from app.domain.rounds import Participation
from app.http.quotations import HIDDEN, shown_to
from tcsfeel.contract.clients import FailuresOut
from tests.api import Api
from tests.store.samples import NOW, a_round, client, training

SAID = "the secret of another service"
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
        breaker = replace(client().breaker, last_failures=(failure,), cause=reason, state="open", opened_at=NOW)
        failures = Failures(faulty=1, last_faulty=failure)
        await tx.clients.add([client(breaker=breaker, failures=failures)])
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
        assert read in {full, HIDDEN} if isinstance(full, str) else read == full


async def test_what_a_training_reached_is_no_quotation(sqlite_api: Api) -> None:
    reached = training(status="completed", stop_reason="target", stop_detail="rmse 0.2 reached the target 0.2")
    async with sqlite_api.system.db.begin() as tx:
        await tx.trainings.add(reached)
    viewer = (await sqlite_api.system.keys.create(name="reader", role="viewer")).text
    read = await sqlite_api.anonymous.get("/v1/trainings/t", headers={"Authorization": f"Bearer {viewer}"})
    assert read.json()["stop_detail"] == reached.stop_detail


def test_an_agent_sees_what_is_said_of_itself() -> None:
    failure = Failure(at=NOW, phase="fit", training_id="t", round=1, reason=SAID)
    answer = FailuresOut.of(Failures(faulty=1, last_faulty=failure))
    for by in (ADMIN, Principal("operator", "anna"), Principal("agent", "edge-7", client_id="edge-7")):
        assert shown_to(by, answer) == answer
    hidden = shown_to(Principal("viewer", "reader"), answer).last_faulty
    assert hidden is not None
    assert hidden.reason == HIDDEN
