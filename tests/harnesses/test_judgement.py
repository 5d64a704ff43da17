"""The judgement tells calls and rounds that are right from those that are wrong."""

from dataclasses import replace

import pytest

from app.domain.rounds import Participation
from app.store.events import RecordedEvent
from tests.harnesses import judgement
from tests.harnesses.history import History
from tests.harnesses.proxy import Call
from tests.store.samples import a_round


def a_call(method: str, began: float, ended: float, task: str = "t.1.c-0.fit") -> Call:
    path = f"/agents/c-0/tasks/{task}"
    return Call(client_id="c-0", method=method, path=path, mode="pass", began=began, ended=ended)


@pytest.mark.parametrize(
    ("calls", "at_once"),
    [
        ([], 0),
        ([a_call("PUT", 10, 12), a_call("GET", 12, 20)], 1),
        ([a_call("PUT", 10, 12), a_call("PUT", 10.2, 15)], 2),
        ([a_call("GET", 10, 12), a_call("GET", 11.8, 15)], 1),  # a hand-over within the slack
    ],
)
def test_calls_that_overlap_are_counted(calls: list[Call], at_once: int) -> None:
    assert judgement.at_once(calls) == at_once


def changed(at: float, state: str) -> RecordedEvent:
    return RecordedEvent(
        id=int(at), at=at, type=f"breaker.{state}", training_id=None, round=None, client_id="c-0", data={}
    )


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (a_call("GET", 99.0, 101.0), None),
        (a_call("GET", 100.2, 101.0), None),  # it was under way already
        (a_call("GET", 101.0, 102.0), "GET /agents/c-0/tasks/t.1.c-0.fit 1.00 s after c-0's breaker had opened"),
        (a_call("DELETE", 101.0, 102.0), "DELETE /agents/c-0/tasks/t.1.c-0.fit 1.00 s after c-0's breaker had opened"),
        (a_call("PUT", 131.0, 139.0), "2 calls at once while c-0's breaker was half-open"),
        (a_call("DELETE", 131.0, 139.0), None),
        (a_call("PUT", 141.0, 149.0), None),
    ],
)
def test_calls_are_held_against_the_states_of_breakers(call: Call, problem: str | None) -> None:
    outcome = judgement.Outcome(
        history=History({}, {}, {}),
        calls=[call, a_call("PUT", 130.5, 139.0, "t.2.c-0.fit")],
        events=[changed(100, "open"), changed(130, "half_open"), changed(140, "closed")],
    )
    judgement.judge_calls(outcome)
    assert outcome.problems == ([] if problem is None else [problem])


@pytest.mark.parametrize(
    ("fields", "attempts", "problem"),
    [
        ({"ended_at": 160.9}, [1, 1, 2], None),
        ({"ended_at": 161.5}, [1, 1, 1], "ended 1.50 s after its deadline"),
        ({"ended_at": None}, [1, 1, 1], "has not ended"),
        ({"ended_at": 160.0}, [1, 2, 2], "made 5 attempts for 3 clients"),  # 3 and a fifth of 3, rounded up
        ({"ended_at": 160.0}, [0, 1, 2], None),  # one of the three was never handed over
    ],
)
def test_rounds_are_held_against_their_deadline_and_their_budget(
    fields: dict[str, float | None], attempts: list[int], problem: str | None
) -> None:
    parts = tuple(Participation(client_id=f"c-{number}", attempts=count) for number, count in enumerate(attempts))
    outcome = judgement.Outcome(history=History({}, {}, {}), calls=[], events=[])
    judgement.judge_rounds(outcome, [a_round("t", 1, deadline_at=160.0, participations=parts, **fields)])
    assert outcome.problems == ([] if problem is None else [f"round t/1 {problem}"])


@pytest.mark.parametrize(
    ("repeatable", "problems"), [(2, []), (1, ["t/1 fit: 3 hand-overs of 1 tasks reached the proxies"])]
)
def test_what_http_repeats_by_itself_is_no_retry(repeatable: int, problems: list[str]) -> None:
    calls = [a_call("PUT", 10.0 + number, 11.0) for number in range(4)]
    for call in calls[:repeatable]:
        call.repeatable = True
    outcome = judgement.Outcome(history=History({}, {}, {}), calls=calls, events=[])
    judgement.judge_rounds(outcome, [])
    assert outcome.problems == problems


def test_an_update_that_nobody_has_sent_is_told() -> None:
    def part(client_id: str, update: str) -> Participation:
        return Participation(client_id=client_id, status="received", update=update)

    calls = [
        replace(a_call("GET", 1, 2), answer="whole"),
        replace(a_call("GET", 3, 4), answer="sent", flipped="body", corrupted="flipped"),
        replace(a_call("GET", 5, 6), answer="kept", flipped="head", corrupted="kept"),
    ]
    outcome = judgement.Outcome(history=History({}, {}, {}), calls=calls, events=[])
    rounds = [
        a_round("t", number, participations=(part("c-0", update),))
        for number, update in enumerate(["whole", "flipped", "kept", "sent", "else"], 1)
    ]
    judgement.judge_updates(outcome, rounds)
    assert outcome.corrupted == 2
    assert outcome.taken == 1
    assert outcome.problems == [
        "round 2: a corrupted update of c-0 counts",
        *(f"round {number}: nobody has sent the update of c-0" for number in (4, 5)),
    ]
