"""The harnesses of hostile agents and of troubles work, in runs of a few seconds, and find what they look for."""

import asyncio
from pathlib import Path

import pytest

from tests.harnesses.databases import new_database
from tests.harnesses.hostile import judgement
from tests.harnesses.hostile.agents import ALL
from tests.harnesses.hostile.attack import attack
from tests.harnesses.hostile.kinds import CALLERS
from tests.harnesses.hostile.outcome import Outcome, Run
from tests.harnesses.troubles import clock, fleet, limits
from tests.harnesses.troubles.stage import Scenario

PATIENCE = 300.0  # seconds, for machines that are busy with something else
# How long something took: a machine that is busy with something else is no proof of anything.
SLOW = (
    "the loop was held",
    "the quiet fleet's rounds took",
    "were slow",
    "was left without an answer",
    "never got an end",
    "the slowest hundredth of good calls",
    "other writers were busy for 5 s",
    "heartbeats were refused: [503]",
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc on this machine")


async def test_a_server_stands_an_attack(tmp_path: Path) -> None:
    assert len(ALL) + len(CALLERS) >= 200
    async with asyncio.timeout(PATIENCE):
        outcome = await attack(Run(calm=2.0, attack=20.0, periods=1), tmp_path / "hostile", None)
    found = judgement.problems(outcome)
    assert [problem for problem in found if not any(words in problem for words in SLOW)] == []
    assert sum(sum(seen.values()) for seen in outcome.seen.values()) >= len(CALLERS)
    assert judgement.report(outcome, "sqlite", []).endswith("; ok")


async def test_rounds_go_on_in_a_process_of_their_own_while_the_api_is_attacked(tmp_path: Path) -> None:
    run = Run(calm=1.0, attack=3.0, periods=1, shifts=10, callers="deep-json", apart=True)  # a tenth is quick to set up
    async with asyncio.timeout(PATIENCE):
        outcome = await attack(run, tmp_path / "hostile", None)
    assert (outcome.gone, outcome.status, outcome.left) == (None, 0, 0)
    assert outcome.log.count('"event": "started"') == 2
    assert any(round_["status"] == "completed" for round_ in outcome.quiet)


def test_what_a_hostile_agent_must_not_do_is_told() -> None:
    part = {"client_id": "h-nan", "status": "received", "reason": None}
    shown = {"client_id": "h-418-terminal", "status": "failed", "reason": "answered \x1b[31m"}
    outcome = Outcome(
        gone=None, rounds={"fit": [{"status": "completed", "number": 1, "participations": [part, shown]}]}
    )
    found = list(judgement.of_rounds(outcome))
    assert "h-nan counts in a round of fit" in found
    assert "h-418-terminal has a reason that cannot be shown: 'answered \\x1b[31m'" in found
    assert "nothing says what is wrong with h-204" in found


@pytest.mark.parametrize(
    "scenario", [clock.steps_back, limits.no_place_to_write, fleet.leave_for_a_moment], ids=lambda found: found.__name__
)
async def test_a_trouble_ends_in_progress_or_names_its_cause(scenario: Scenario, tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE), new_database(None, tmp_path / "database") as url:
        took = await scenario(tmp_path / "trouble", url)
    assert took
