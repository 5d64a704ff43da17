"""One task at one agent: the agent is a script of answers, and no pause takes any time."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.domain.breaker import Breaker
from app.domain.retries import RetryBudget
from app.metrics import Metrics
from app.services.breakers import Breakers
from app.services.dispatch import MIN_BYTES_FOR_BANDWIDTH, Assignment, Dispatcher, TaskRun
from app.settings import AgentSettings
from app.store.database import Database
from app.store.model_store import ModelStore, StoreUnavailable
from app.wire.codec import pack, unpack
from app.wire.tasks import Task, read_task, task_metadata
from tests.services.fakes import Highest, SkippingClock, calling, metrics, profile
from tests.store.samples import client

TASK = Task(id="t.1.a.fit", kind="fit", training_id="t", round=1, deadline_seconds=60.0)
MODEL = pack({"w": np.zeros(4, np.float32)})
HEADER, BLOCK = MODEL.payload(task_metadata(TASK))
SIZE = len(HEADER) + len(BLOCK)

Step = int | tuple[int, bytes] | tuple[int, bytes, dict[str, str]] | Exception


class Script:
    """An agent that answers as written, one step a call, and notes who called; a DELETE takes no step."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.calls: list[str] = []
        self.before: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request.method)
        assert request.url.path == f"/tasks/{TASK.id}"
        if request.method == "DELETE":
            return httpx.Response(204)
        if request.method == "PUT":
            body = await request.aread()
            assert read_task(unpack(body)[1]) == TASK
        if self.before is not None:
            await self.before()
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]  # the last one goes on for ever
        if isinstance(step, Exception):
            raise step
        status, body, headers = (*((step, b"") if isinstance(step, int) else step), {})[:3]
        return httpx.Response(status, stream=httpx.ByteStream(body), headers=headers)


class Bench:
    """A dispatcher over a script, with everything that it touches."""

    def __init__(self, db: Database, script: Script, dispatcher: Dispatcher, clock: SkippingClock, spool: Path) -> None:
        self.db = db
        self.script = script
        self.dispatcher = dispatcher
        self.clock = clock
        self.assignment = Assignment(client("a", profile=profile()), TASK, MODEL, ModelStore(spool))
        self.budget = RetryBudget(10)
        self.run = TaskRun()

    async def go(self) -> TaskRun:
        async with asyncio.timeout(20):
            assert await self.dispatcher.run(self.run, self.assignment, self.budget) is self.run
        return self.run

    async def breaker(self) -> Breaker:
        async with self.db.read() as tx:
            return (await tx.clients.get("a")).breaker

    def result(self) -> bytes:
        assert self.run.file is not None
        return bytes(self.assignment.spool.map(self.run.file.sha256))


@pytest.fixture
def counts() -> Metrics:
    return metrics()


@pytest.fixture
def bench(sqlite: Database, counts: Metrics, tmp_path: Path) -> Callable[..., Any]:
    @asynccontextmanager
    async def bench(*steps: Step, rng: random.Random | None = None, **settings: Any) -> AsyncIterator[Bench]:
        async with sqlite.begin() as tx:
            await tx.clients.add([client("a", profile=profile())])
        script, clock = Script(*steps), SkippingClock()
        async with calling(script, max_bytes=2_000_000) as caller:
            dispatcher = Dispatcher(
                caller=caller,
                breakers=Breakers(sqlite, clock, counts, Highest()),
                settings=AgentSettings(**settings),
                clock=clock,
                metrics=counts,
                rng=rng or Highest(),
            )
            yield Bench(sqlite, script, dispatcher, clock, tmp_path / "spool")

    return bench


OK: Step = (200, b"result")
Benches = Callable[..., Any]


async def test_a_task_is_handed_over_and_waited_for(bench: Benches) -> None:
    async with bench(202, OK) as b:
        run = await b.go()
        assert b.script.calls == ["PUT", "GET"]
        assert b.result() == b"result"
        assert (run.attempts, run.bytes_sent, run.bytes_received, run.reason) == (1, SIZE, 6, None)
        assert run.started_at == 1_000_000.0
        assert b.clock.slept == []


async def test_a_result_that_is_ready_at_once_needs_no_poll(bench: Benches) -> None:
    async with bench(OK) as b:
        await b.go()
        assert b.script.calls == ["PUT"]
        assert b.result() == b"result"


async def test_traffic_and_tasks_in_flight_are_counted(bench: Benches, counts: Metrics) -> None:
    def sample(name: str, **labels: str) -> float | None:
        return counts.registry.get_sample_value(f"federated_{name}", labels)

    async with bench(202, OK) as b:

        async def look() -> None:
            assert sample("tasks_in_flight") == 1

        b.script.before = look
        await b.go()
    assert sample("tasks_in_flight") == 0
    assert sample("communication_bytes_total", client="a", direction="sent") == SIZE
    assert sample("communication_bytes_total", client="a", direction="received") == 6


async def test_a_resumed_task_is_asked_for_before_anything_is_sent(bench: Benches) -> None:
    async with bench(202, OK) as b:
        b.run.attempts = 1
        run = await b.go()
        assert b.script.calls == ["GET", "GET"]
        assert (run.attempts, run.bytes_sent, run.bytes_received) == (1, 0, 6)


async def test_a_resumed_task_that_the_agent_forgot_is_handed_over_again_at_no_cost(bench: Benches) -> None:
    async with bench(404, 202, OK) as b:
        b.run.attempts = 1
        b.budget = RetryBudget(0)
        run = await b.go()
        assert b.script.calls == ["GET", "PUT", "GET"]
        assert (run.attempts, run.bytes_sent) == (1, SIZE)
        assert b.result() == b"result"
        assert (await b.breaker()).consecutive_failures == 0


async def test_an_agent_that_restarts_while_it_trains_is_handed_the_task_again(bench: Benches) -> None:
    async with bench(202, 202, 404, 202, OK) as b:
        run = await b.go()
        assert b.script.calls == ["PUT", "GET", "GET", "PUT", "GET"]
        assert (run.attempts, run.bytes_sent) == (1, 2 * SIZE)


async def test_an_agent_that_forgets_every_time_fails_its_try(bench: Benches) -> None:
    async with bench(404) as b:  # an URL that leads to another program, say
        b.budget = RetryBudget(0)
        run = await b.go()
        assert (run.file, run.reason) == (None, "it keeps forgetting the task")
        assert b.script.calls == ["PUT"] * 4
        assert (await b.breaker()).consecutive_failures == 1


async def test_a_busy_agent_is_left_alone_and_not_blamed(bench: Benches) -> None:
    async with bench((429, b"", {"Retry-After": "7"}), 409, OK) as b:
        b.budget = RetryBudget(0)
        run = await b.go()
        assert b.script.calls == ["PUT", "PUT", "PUT"]
        assert b.clock.slept == [7.0, 2.0]
        assert (run.attempts, run.bytes_sent) == (1, 3 * SIZE)
        assert (await b.breaker()).consecutive_failures == 0


async def test_an_agent_that_is_busy_for_long_is_asked_ever_more_rarely(bench: Benches) -> None:
    zero: Step = (429, b"", {"Retry-After": "0"})  # and none says when to come back in no time
    async with bench(*[zero] * 4, *[409] * 4, OK) as b:
        await b.go()
        assert b.clock.slept == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


async def test_a_poll_that_finds_the_agent_busy_is_repeated_later(bench: Benches) -> None:
    async with bench(202, 429, (429, b"", {"Retry-After": "50"}), OK) as b:
        await b.go()
        assert b.script.calls == ["PUT", "GET", "GET", "GET"]
        assert b.clock.slept == [1.0, 50.0]


async def test_an_agent_that_does_not_wait_when_polled_is_not_asked_all_the_time(bench: Benches) -> None:
    async with bench(202, 202, 202, 202, OK) as b:
        await b.go()
        assert b.script.calls == ["PUT", "GET", "GET", "GET", "GET"]
        assert b.clock.slept == [1.0, 1.0, 1.0]


async def test_an_agent_that_waits_as_it_is_told_is_asked_again_at_once(bench: Benches) -> None:
    async with bench(202, 202, OK, poll_seconds=0.02) as b:

        async def wait() -> None:
            await asyncio.sleep(0.02)

        b.script.before = wait
        await b.go()
        assert b.clock.slept == []


async def test_a_failure_is_retried_after_a_pause_with_full_jitter(bench: Benches) -> None:
    broken = httpx.ReadError("cut")
    async with bench(202, broken, broken, OK) as b:
        run = await b.go()
        assert b.script.calls == ["PUT", "GET", "PUT", "PUT"]  # a new try begins with the hand-over
        assert b.clock.slept == [0.5, 1.0]  # up to these: the generator draws the ends
        assert (run.attempts, run.bytes_sent, run.reason) == (3, 3 * SIZE, None)
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
        run = await b.go()
        assert (run.file, run.attempts, run.reason) == (None, 3, "answered 503: ")
        assert b.script.calls == ["PUT"] * 3
        assert (await b.breaker()).state == "open"


async def test_tries_before_a_restart_count(bench: Benches) -> None:
    async with bench(503) as b:
        b.run.attempts = 2
        run = await b.go()
        assert b.script.calls == ["GET", "PUT"]
        assert run.attempts == 3


async def test_an_empty_budget_leaves_one_try(bench: Benches) -> None:
    async with bench(503) as b:
        b.budget = RetryBudget(0)
        run = await b.go()
        assert (run.attempts, b.clock.slept) == (1, [])


async def test_no_retry_goes_out_once_the_breaker_has_opened(bench: Benches) -> None:
    async with bench(503) as b:
        async with b.db.begin() as tx:
            await tx.clients.put(client("a", profile=profile(), breaker=Breaker(consecutive_failures=2)))
        run = await b.go()
        assert run.attempts == 1
        assert b.budget.left == 10
        assert (await b.breaker()).state == "open"


async def test_a_probe_that_fails_is_not_retried(bench: Benches) -> None:
    async with bench(503) as b:
        async with b.db.begin() as tx:
            await tx.clients.put(client("a", profile=profile(), breaker=Breaker(state="half_open", openings=1)))
        assert (await b.go()).attempts == 1
        assert (await b.breaker()).openings == 2


async def test_no_retry_goes_out_when_the_breaker_opens_in_the_pause_before_it(bench: Benches) -> None:
    async with bench(503, OK) as b:
        b.clock.meanwhile = lambda: _open(b.db)
        run = await b.go()
        assert b.script.calls == ["PUT"]
        assert (run.attempts, run.bytes_sent, run.reason) == (1, SIZE, "answered 503: ")


async def test_a_task_is_not_polled_any_more_once_the_breaker_has_opened(bench: Benches) -> None:
    async with bench(202, 202, OK) as b:  # another training's calls of the same client fail
        b.clock.meanwhile = lambda: _open(b.db)
        run = await b.go()
        assert b.script.calls == ["PUT", "GET"]
        assert (run.file, run.reason) == (None, "its breaker opened")
        assert (await b.breaker()).consecutive_failures == 0, "it has failed nothing here"


async def test_a_busy_agent_is_not_asked_again_once_the_breaker_has_opened(bench: Benches) -> None:
    async with bench(429, OK) as b:
        b.clock.meanwhile = lambda: _open(b.db)
        run = await b.go()
        assert b.script.calls == ["PUT"]
        assert (run.attempts, run.reason) == (1, "its breaker opened")


async def test_a_breaker_that_this_process_has_opened_stops_the_next_call_too(bench: Benches) -> None:
    async with bench(202, OK) as b:

        async def fail() -> None:  # as another training's calls do, while the task is handed over
            for _ in range(3):
                await b.dispatcher._breakers.fail("a")

        b.script.before = fail
        run = await b.go()
        assert b.script.calls == ["PUT"]
        assert (run.file, run.reason) == (None, "its breaker opened")


async def test_a_breaker_that_was_closed_elsewhere_stops_nothing(bench: Benches) -> None:
    async with bench(202, OK) as b:

        async def fail_and_reset() -> None:
            for _ in range(3):
                await b.dispatcher._breakers.fail("a")
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
        run = await b.go()
        assert (run.attempts, run.reason) == (1, "answered 503: ")


async def test_a_trainer_that_raised_is_made_to_train_again(bench: Benches) -> None:
    async with bench(202, (500, b"out of memory"), 202, OK) as b:
        run = await b.go()
        assert b.script.calls == ["PUT", "GET", "DELETE", "PUT", "GET"]
        assert (run.attempts, run.reason) == (2, None)
        assert (await b.breaker()).consecutive_failures == 1


async def test_a_trainer_that_always_raises_gives_its_reason(bench: Benches) -> None:
    async with bench((500, b"out of memory")) as b:
        run = await b.go()
        assert run.reason == "its trainer failed: out of memory"
        assert b.script.calls == ["PUT", "DELETE"] * 3


async def test_a_task_that_was_cancelled_at_the_agent_is_tried_again(bench: Benches) -> None:
    async with bench(202, 410, 202, OK) as b:
        run = await b.go()
        assert (run.attempts, run.reason) == (2, None)
        b.script.steps = [410]
        b.budget = RetryBudget(0)
        b.run = TaskRun()
        assert (await b.go()).reason == "the agent cancelled the task"


async def test_a_disk_that_is_full_is_nobodys_failure_but_ours(bench: Benches, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way of the directory")
    async with bench(OK) as b:
        with pytest.raises(StoreUnavailable):
            await b.go()
        assert await b.breaker() == Breaker()


async def test_a_run_that_is_called_off_tells_what_it_did(bench: Benches, counts: Metrics) -> None:
    async with bench(503, 202) as b:
        polled = asyncio.Event()

        async def hang() -> None:
            if b.script.calls[-1] == "GET":
                polled.set()
                await asyncio.Event().wait()

        b.script.before = hang
        task = asyncio.create_task(b.go())
        await polled.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (b.run.attempts, b.run.bytes_sent, b.run.file) == (2, 2 * SIZE, None)
        assert b.run.reason == "answered 503: "
        assert (await b.breaker()).consecutive_failures == 1  # our own cancellation is not the client's fault
    assert counts.registry.get_sample_value("federated_tasks_in_flight") == 0


@pytest.mark.parametrize(("steps", "slow"), [([202, OK], True), ([OK], False)])
async def test_only_taking_a_task_in_is_slow_and_not_training_it_meanwhile(
    bench: Benches, steps: list[Step], slow: bool
) -> None:
    async with bench(*steps, slow_seconds=5) as b:

        async def take_long() -> None:
            b.clock.advance(6)

        b.script.before = take_long
        assert (await b.go()).slow is slow


async def test_bandwidth_is_measured_where_the_result_is_large_enough(bench: Benches) -> None:
    async with bench((200, bytes(MIN_BYTES_FOR_BANDWIDTH))) as b:
        run = await b.go()
        assert run.bandwidth is not None
        assert run.bandwidth > 0
    assert TaskRun().bandwidth is None


async def test_a_small_result_measures_no_bandwidth(bench: Benches) -> None:
    async with bench((200, bytes(MIN_BYTES_FOR_BANDWIDTH - 1))) as b:
        assert (await b.go()).bandwidth is None


async def test_the_number_of_tasks_at_once_is_bounded(bench: Benches) -> None:
    async with bench(OK, concurrency=3) as b:
        under_way, most = 0, 0

        async def linger() -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            for _ in range(10):
                await asyncio.sleep(0)
            under_way -= 1

        b.script.before = linger
        runs = [TaskRun() for _ in range(10)]
        await asyncio.gather(*(b.dispatcher.run(run, b.assignment, b.budget) for run in runs))
        assert all(run.file is not None for run in runs)
        assert most == 3


async def test_an_agent_is_told_to_forget(bench: Benches) -> None:
    async with bench(OK) as b:
        await b.dispatcher.forget(replace(b.assignment.client), TASK.id)
        assert b.script.calls == ["DELETE"]


async def _open(db: Database) -> None:
    """As another replica does."""
    async with db.begin() as tx:
        await tx.clients.put(client("a", profile=profile(), breaker=Breaker(state="open", retry_at=9e9, openings=1)))
