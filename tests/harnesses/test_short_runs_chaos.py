"""The harnesses of broken networks, restarts and long runs work, in runs of a few seconds, and find problems."""

import asyncio
from pathlib import Path

import pytest

from tests.harnesses import chaos, restarts, soak

PATIENCE = 300.0  # for machines that are busy with something else


async def test_rounds_end_in_time_on_a_broken_network(tmp_path: Path) -> None:
    run = chaos.Run(agents=12, rounds=4, clients=8, evaluators=4, spell=(0.5, 3.0), patience=PATIENCE)
    outcome = await chaos.chaos(run, tmp_path / "chaos", None)
    # How late, and who fails: a machine that is busy with something else is no proof of anything.
    slow = ("after its deadline", "for no fault of its own", "at once while", "breaker had opened")
    assert [problem for problem in outcome.problems if not any(words in problem for words in slow)] == []
    assert outcome.history.rounds == 4
    assert {call.method for call in outcome.calls} >= {"PUT", "GET", "DELETE"}
    assert chaos.report(outcome, run, "sqlite", []).endswith("; ok")


async def test_no_update_is_lost_when_the_database_restarts(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        outcome = await restarts.restarts(count=1, full=1, full_seconds=0.5, directory=tmp_path / "restarts")
    assert outcome.problems == []
    assert outcome.acknowledged > 0
    assert len(outcome.ready) == len(outcome.going_on) == 1
    assert restarts.report(outcome, []).endswith("ok, none lost")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc on this machine")
async def test_a_server_is_measured_from_outside(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        outcome = await soak.soak(seconds=4, every=0.5, directory=tmp_path / "soak", database=None)
    assert outcome.problems == []
    assert len(outcome.samples) >= 2
    last = outcome.samples[-1]
    assert last.memory > 10
    assert last.descriptors > 3
    assert last.threads >= 1
    assert last.rows["clients"] == soak.AGENTS
    assert soak.report(outcome, "sqlite", []).endswith("; ok")


def sampled(*memory: float, descriptors: tuple[int, ...] = ()) -> soak.Outcome:
    """One sample a minute."""
    return soak.Outcome(
        samples=[
            soak.Sample(
                at=60.0 * minute,
                memory=used,
                private=used,
                descriptors=descriptors[minute] if descriptors else 10,
                threads=5,
                connections=2,
                files=1,
                rows={"events": 100 * minute},
            )
            for minute, used in enumerate(memory)
        ]
    )


def test_slopes_are_fitted_after_the_warm_up() -> None:
    outcome = sampled(0, 50, 90, *(100 + minute / 2 for minute in range(8)))  # three of ten minutes: from 100 on
    assert outcome.slope("memory") == pytest.approx(0.5)
    assert outcome.rows_a_minute("events") == pytest.approx(100.0)
    assert soak.growing(outcome) == []


def test_what_grows_is_told() -> None:
    assert soak.growing(sampled(*range(100, 122, 2))) == ["memory grows by 2.00 MiB a minute"]
    leak = sampled(*[100] * 10, descriptors=tuple(range(10, 20)))
    assert soak.growing(leak) == ["+5 descriptors from the first to the last third"]  # from 13 and 14 to 18 and 19
