"""One task at one agent: it is handed over and waited for, whatever the agent answers on the way."""

import asyncio
from pathlib import Path

import pytest

from app.domain.breaker import Breaker
from app.domain.lateness import excuse
from app.domain.retries import RetryBudget
from app.domain.tasks import TaskRun
from app.metrics import Metrics
from app.services.tasks.dispatch import MIN_BYTES_FOR_BANDWIDTH, NotCalled
from app.store.model_store import StoreUnavailable
from tests.services.bench import OK, SIZE, TASK, Benches, Step


async def test_a_task_is_handed_over_and_waited_for(bench: Benches) -> None:
    async with bench(202, OK) as b:
        outcome = await b.go()
        assert b.script.calls == ["PUT", "GET"]
        assert b.result() == b"result"
        assert outcome.reason is None
        assert (b.run.attempts, b.run.bytes_sent, b.run.bytes_received) == (1, SIZE, 6)
        assert b.run.started_at == 1_000_000.0
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
        b.resume(attempts=1)
        outcome = await b.go()
        assert b.script.calls == ["GET", "GET"]
        assert (outcome.run.attempts, outcome.run.bytes_sent, outcome.run.bytes_received) == (1, 0, 6)


async def test_a_resumed_task_that_the_agent_forgot_is_handed_over_again_at_no_cost(bench: Benches) -> None:
    async with bench(404, 202, OK) as b:
        b.resume(attempts=1)
        b.budget = RetryBudget(0)
        outcome = await b.go()
        assert b.script.calls == ["GET", "PUT", "GET"]
        assert (outcome.run.attempts, outcome.run.bytes_sent) == (1, SIZE)
        assert b.result() == b"result"
        assert (await b.breaker()).consecutive_failures == 0


async def test_an_agent_that_restarts_while_it_trains_is_handed_the_task_again(bench: Benches) -> None:
    async with bench(202, 202, 404, 202, OK) as b:
        outcome = await b.go()
        assert b.script.calls == ["PUT", "GET", "GET", "PUT", "GET"]
        assert (outcome.run.attempts, outcome.run.bytes_sent) == (1, 2 * SIZE)


async def test_an_agent_that_forgets_every_time_fails_its_try(bench: Benches) -> None:
    async with bench(404) as b:  # an URL that leads to another program, say
        b.budget = RetryBudget(0)
        outcome = await b.go()
        assert (outcome.result, outcome.reason) == (None, "it answered 404 to 4 polls of this task")
        assert b.script.calls == ["PUT"] * 4
        assert (await b.breaker()).consecutive_failures == 1


async def test_a_busy_agent_is_left_alone_and_not_blamed(bench: Benches) -> None:
    async with bench((429, b"", {"Retry-After": "7"}), 409, OK) as b:
        b.budget = RetryBudget(0)
        outcome = await b.go()
        assert b.script.calls == ["PUT", "PUT", "PUT"]
        assert b.clock.slept == [7.0, 2.0]
        assert (outcome.run.attempts, outcome.run.bytes_sent) == (1, 3 * SIZE)
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
        assert (b.run.attempts, b.run.bytes_sent, b.run.answered) == (2, 2 * SIZE, False)
        assert (await b.breaker()).consecutive_failures == 1  # our own cancellation is not the client's fault
    assert counts.registry.get_sample_value("federated_tasks_in_flight") == 0


async def test_each_call_of_a_task_is_watched(bench: Benches) -> None:
    async with bench(202, 202, OK) as b:

        async def work() -> None:
            b.clock.advance(7.0)

        b.script.before = work
        outcome = await b.go()
        # handed over after 7 s; still working 1 pause of 1 s and a call of 7 s before the last one, which waited 7 s
        assert outcome.result is not None
        assert outcome.result.worked_seconds == pytest.approx(7.0 + 7.0, abs=1.0)


@pytest.mark.parametrize(("steps", "slow"), [([202, OK], True), ([OK], False)])
async def test_only_taking_a_task_in_is_slow_and_not_training_it_meanwhile(
    bench: Benches, steps: list[Step], slow: bool
) -> None:
    async with bench(*steps, slow_seconds=5) as b:

        async def take_long() -> None:
            b.clock.advance(6)

        b.script.before = take_long
        assert (await b.go()).run.slow is slow


@pytest.mark.parametrize(("size", "measured"), [(MIN_BYTES_FOR_BANDWIDTH, True), (MIN_BYTES_FOR_BANDWIDTH - 1, False)])
async def test_bandwidth_is_measured_where_the_result_is_large_enough(
    bench: Benches, size: int, measured: bool
) -> None:
    async with bench((200, bytes(size))) as b:
        outcome = await b.go()
    assert (outcome.run.bandwidth is not None and outcome.run.bandwidth > 0) is measured


async def test_the_number_of_tasks_at_once_is_bounded(bench: Benches) -> None:
    async with bench(OK, concurrency=3) as b:
        under_way, most, all_places_taken = 0, 0, asyncio.Event()

        async def linger() -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            if under_way == 3:
                all_places_taken.set()
            await all_places_taken.wait()
            for _ in range(10):
                await asyncio.sleep(0)
            under_way -= 1

        b.script.before = linger
        outcomes = await asyncio.gather(*(b.dispatcher.run(b.assignment, {}, b.budget) for _ in range(10)))
        assert all(outcome.result is not None for outcome in outcomes)
        assert most == 3


async def test_a_task_holds_no_place_while_its_trainer_works(bench: Benches) -> None:
    async with bench(202, concurrency=2) as b:
        runs: list[dict[str, TaskRun]] = [{} for _ in range(6)]
        all_contacted = asyncio.Event()

        async def look() -> None:
            if b.clock.slept and all(run["a"].attempts for run in runs):
                all_contacted.set()

        b.script.before = look
        tasks = [asyncio.create_task(b.dispatcher.run(b.assignment, run, b.budget)) for run in runs]
        async with asyncio.timeout(20):
            await all_contacted.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert b.clock.slept[0] == 3.0  # 6 tasks for 2 places: each asks three times as rarely


@pytest.mark.parametrize(("concurrency", "waits"), [(1, "0"), (3, "20")])
async def test_an_agent_is_asked_to_hold_a_poll_only_where_there_are_places(
    bench: Benches, concurrency: int, waits: str
) -> None:
    async with bench(202, OK, concurrency=concurrency) as b:
        await b.go()
        assert b.script.queries == ["", f"wait={waits}"]


async def test_a_task_that_was_called_off_while_it_waited_for_a_place_was_never_handed_over(bench: Benches) -> None:
    async with bench(OK, concurrency=1) as b:
        async with b.dispatcher.place():
            task = asyncio.create_task(b.go())
            await asyncio.sleep(0)
            assert not b.script.calls
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (b.run.attempts, b.run.bytes_sent, b.run.started_at) == (0, 0, None)
        assert excuse(b.run, b.clock.now()) == "the client was never contacted: the server had no free slot"


async def test_who_waits_too_long_for_a_place_is_told(bench: Benches) -> None:
    async with bench(OK, concurrency=1) as b, b.dispatcher.place():
        with pytest.raises(NotCalled, match="the server had no free slot"):
            async with b.dispatcher.place(0.0):
                pass


async def test_an_agent_is_told_to_forget(bench: Benches) -> None:
    async with bench(OK) as b:
        await b.dispatcher.forget(b.assignment.client.endpoint, TASK.id)
        assert b.script.calls == ["DELETE"]
