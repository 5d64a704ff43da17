"""How long an agent was seen to be at work, whatever it says."""

import pytest

from app.services.tasks.replies import Reply
from app.services.tasks.watch import Watch
from tests.services.bench import OK, Benches


def test_a_result_that_comes_with_the_hand_over() -> None:
    watch = Watch()
    watch.note(Reply("result", seconds=2.0), asked=100.0, now=112.0)
    assert watch.seconds == 10.0  # 12 s, of which its body took 2 s to come in


def test_only_certain_work_counts() -> None:
    watch = Watch()
    watch.note(Reply("working"), asked=100.0, now=101.0)  # taken in after 1 s, which is no work
    assert watch.seconds == 1.0  # the call itself waited
    watch.note(Reply("working"), asked=105.0, now=110.0)
    watch.note(Reply("result", seconds=0.5), asked=150.0, now=153.5)  # the server had no place for it for 40 s
    assert watch.seconds == 12.0  # 101 to 110, and 3 s


def test_work_that_was_lost_does_not_count_and_a_clock_that_went_back_takes_nothing_away() -> None:
    watch = Watch()
    watch.note(Reply("working"), asked=100.0, now=100.0)
    watch.note(Reply("working"), asked=100.0, now=150.0)
    watch.note(Reply("unknown"), asked=150.0, now=150.0)
    watch.note(Reply("working"), asked=150.0, now=150.0)
    watch.note(Reply("working"), asked=150.0, now=90.0)
    watch.note(Reply("result"), asked=90.0, now=91.0)
    assert watch.seconds == 1.0


async def test_each_call_of_a_task_is_watched(bench: Benches) -> None:
    async with bench(202, 202, OK) as b:

        async def work() -> None:
            b.clock.advance(7.0)

        b.script.before = work
        run = await b.go()
        # handed over after 7 s; still working 1 pause of 1 s and a call of 7 s before the last one, which waited 7 s
        assert run.watch.seconds == pytest.approx(7.0 + 7.0, abs=1.0)
