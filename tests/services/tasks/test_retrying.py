"""Tries of a task: how many, after which pauses, and when a breaker ends them."""

import random

import httpx2
import pytest

from app.domain.breaker import Breaker
from app.domain.retries import RetryBudget
from app.store.database import Database
from tests.services.bench import OK, SIZE, Benches, Step
from tests.services.fakes import FAILURE, profile
from tests.store.samples import client


async def test_a_failure_is_retried_after_a_pause_with_full_jitter(bench: Benches) -> None:
    broken = ConnectionResetError("cut")
    async with bench(202, broken, broken, OK) as b:
        outcome = await b.go()
        assert b.script.calls == ["PUT", "GET", "PUT", "PUT"]  # a new try begins with the hand-over
        assert b.clock.slept == [0.5, 1.0]  # up to these: the generator draws the ends
        assert (outcome.run.attempts, outcome.run.bytes_sent, outcome.reason) == (3, 3 * SIZE, None)
        assert b.result() == b"result"
        assert b.budget.left == 8
        assert (await b.breaker()).consecutive_failures == 2


async def test_jitter_is_drawn(bench: Benches) -> None:
    class Lowest(random.Random):
        def random(self) -> float:
            return 0.0

    async with bench(503, 503, OK, rng=Lowest()) as b:
        await b.go()
        assert b.clock.slept == [0.0, 0.0]


async def test_there_are_three_tries(bench: Benches) -> None:
    async with bench(503, 503, 503) as b:
        outcome = await b.go()
        assert (outcome.result, outcome.run.attempts, outcome.reason) == (None, 3, "the agent answered 503")
        assert b.script.calls == ["PUT"] * 3
        assert (await b.breaker()).state == "open"


async def test_tries_before_a_restart_count(bench: Benches) -> None:
    async with bench(503) as b:
        b.resume(attempts=2)
        outcome = await b.go()
        assert b.script.calls == ["GET", "PUT"]
        assert outcome.run.attempts == 3


async def test_an_empty_budget_leaves_one_try(bench: Benches) -> None:
    async with bench(503) as b:
        b.budget = RetryBudget(0)
        outcome = await b.go()
        assert (outcome.run.attempts, b.clock.slept) == (1, [])


async def test_no_retry_goes_out_once_the_breaker_has_opened(bench: Benches) -> None:
    async with bench(503) as b:
        async with b.db.begin() as tx:
            await tx.clients.put(client("a", profile=profile(), breaker=Breaker(consecutive_failures=2)))
        outcome = await b.go()
        assert outcome.run.attempts == 1
        assert b.budget.left == 10
        assert (await b.breaker()).state == "open"


async def test_a_probe_that_fails_is_not_retried(bench: Benches) -> None:
    async with bench(503) as b:
        async with b.db.begin() as tx:
            await tx.clients.put(client("a", profile=profile(), breaker=Breaker(state="half_open", openings=1)))
        assert (await b.go()).run.attempts == 1
        assert (await b.breaker()).openings == 2


async def test_no_retry_goes_out_when_the_breaker_opens_in_the_pause_before_it(bench: Benches) -> None:
    async with bench(503, OK) as b:
        b.clock.meanwhile = lambda: _open(b.db)
        outcome = await b.go()
        assert b.script.calls == ["PUT"]
        assert (outcome.run.attempts, outcome.run.bytes_sent, outcome.reason) == (1, SIZE, "the agent answered 503")


async def test_a_task_is_not_polled_any_more_once_the_breaker_has_opened(bench: Benches) -> None:
    async with bench(202, 202, OK) as b:  # another training's calls of the same client fail
        b.clock.meanwhile = lambda: _open(b.db)
        outcome = await b.go()
        assert b.script.calls == ["PUT", "GET"]
        assert (outcome.result, outcome.reason) == (None, "its breaker opened")
        assert (await b.breaker()).consecutive_failures == 0, "it has failed nothing here"


async def test_a_busy_agent_is_not_asked_again_once_the_breaker_has_opened(bench: Benches) -> None:
    async with bench(429, OK) as b:
        b.clock.meanwhile = lambda: _open(b.db)
        outcome = await b.go()
        assert b.script.calls == ["PUT"]
        assert (outcome.run.attempts, outcome.reason) == (1, "its breaker opened")


async def test_a_breaker_that_this_process_has_opened_stops_the_next_call_too(bench: Benches) -> None:
    async with bench(202, OK) as b:

        async def fail() -> None:  # as another training's calls do, while the task is handed over
            for _ in range(3):
                await b.dispatcher._breakers.fail("a", FAILURE)

        b.script.before = fail
        outcome = await b.go()
        assert b.script.calls == ["PUT"]
        assert (outcome.result, outcome.reason) == (None, "its breaker opened: fit: the agent answered 500")


async def test_a_breaker_that_was_closed_elsewhere_stops_nothing(bench: Benches) -> None:
    async with bench(202, OK) as b:

        async def fail_and_reset() -> None:
            for _ in range(3):
                await b.dispatcher._breakers.fail("a", FAILURE)
            async with b.db.begin() as tx:
                await tx.clients.put(client("a", profile=profile()))

        b.script.before = fail_and_reset
        await b.go()
        assert b.script.calls == ["PUT", "GET"]
        assert b.result() == b"result"


async def test_a_client_that_is_removed_while_its_task_runs_ends_it(bench: Benches) -> None:
    async with bench(503) as b:

        async def remove() -> None:
            async with b.db.begin() as tx:
                await tx.clients.remove("a")

        b.script.before = remove
        outcome = await b.go()
        assert (outcome.run.attempts, outcome.reason) == (1, "the agent answered 503")


async def test_a_trainer_that_raised_is_made_to_train_again(bench: Benches) -> None:
    async with bench(202, (500, b"out of memory"), 202, OK) as b:
        outcome = await b.go()
        assert b.script.calls == ["PUT", "GET", "DELETE", "PUT", "GET"]
        assert (outcome.run.attempts, outcome.reason) == (2, None)
        assert (await b.breaker()).consecutive_failures == 1


async def test_a_trainer_that_always_raises_gives_its_reason(bench: Benches) -> None:
    async with bench((500, b"out of memory")) as b:
        outcome = await b.go()
        assert outcome.reason == "its trainer failed: out of memory"
        assert b.script.calls == ["PUT", "DELETE"] * 3


async def test_a_task_that_was_cancelled_at_the_agent_is_tried_again(bench: Benches) -> None:
    async with bench(202, 410, 202, OK) as b:
        outcome = await b.go()
        assert (outcome.run.attempts, outcome.reason) == (2, None)
        b.script.steps = [410]
        b.budget = RetryBudget(0)
        assert (await b.go()).reason == "the agent cancelled the task"


async def _open(db: Database) -> None:
    """As another replica does."""
    async with db.begin() as tx:
        await tx.clients.put(client("a", profile=profile(), breaker=Breaker(state="open", retry_at=9e9, openings=1)))


BROKEN = (500, b'{"type": "urn:x", "detail": "fit must return a FitResult, not tuple", "retry": false}')


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (BROKEN, "its trainer failed: fit must return a FitResult, not tuple"),
        ((422, b'{"detail": "no tensor of mine"}'), "the agent answered 422: no tensor of mine"),
        ((401, b"who are you?"), "the agent answered 401: who are you?"),
        (413, "the agent answered 413"),
        (501, "the agent answered 501"),
        (204, "the agent answered 204 No Content, expected 200, 202, 404, 409, 410, 429 or 500"),
        (
            (200, b"", {"Content-Encoding": "gzip"}),
            "the agent answered with Content-Encoding 'gzip', which is not accepted",
        ),
    ],
)
async def test_what_no_repeat_can_mend_is_not_tried_again(bench: Benches, answer: Step, reason: str) -> None:
    async with bench(answer, OK) as b:
        outcome = await b.go()
        assert (outcome.run.attempts, outcome.result, outcome.reason) == (1, None, reason)
        assert b.script.calls.count("PUT") == 1
        assert b.budget.left == 10
        (failure,) = (await b.breaker()).last_failures
        assert (failure.phase, failure.training_id, failure.round) == ("fit", "t", 1)
        assert failure.reason == reason


async def test_a_mistake_that_a_poll_tells_is_not_tried_again_either(bench: Benches) -> None:
    told = b'{"detail": "KeyError: 1", "retry": false, "traceback": "  t.py:1 in fit\\nKeyError: 1"}'
    async with bench(202, (500, told), OK) as b:
        outcome = await b.go()
        assert (outcome.run.attempts, outcome.reason) == (1, "its trainer failed: KeyError: 1")
        assert outcome.traceback == "  t.py:1 in fit\nKeyError: 1"
        assert b.script.calls == ["PUT", "GET", "DELETE"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(503, "unreachable"), (httpx2.ConnectError("refused"), "unreachable"), ((500, b"x"), "faulty"), (404, "faulty")],
)
async def test_a_failure_says_whether_the_agent_was_reached(bench: Benches, answer: Step, kind: str) -> None:
    async with bench(answer) as b:
        b.budget = RetryBudget(0)
        outcome = await b.go()
        (failure,) = (await b.breaker()).last_failures
        assert failure.kind == outcome.kind == kind


@pytest.mark.parametrize("answer", [408, 502, (500, b'{"detail": "out of memory"}'), (500, b"out of memory")])
async def test_what_may_pass_is_tried_again(bench: Benches, answer: Step) -> None:
    async with bench(answer, OK) as b:
        assert ((await b.go()).run.attempts, b.result()) == (2, b"result")
