"""The harnesses of crashes work, in runs of a few seconds: the product passes them, and they find what is broken."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harnesses.crash import KILLS as FREQUENT
from tests.harnesses.crash import Run, calm, crash, report
from tests.harnesses.databases import Kind
from tests.harnesses.history import differences
from tests.harnesses.mutants import short
from tests.harnesses.takeover import takeover
from tests.harnesses.waves import Work

PATIENCE = 300.0  # for machines that are busy with something else
KILLS = 6


@pytest.fixture
def server(request: pytest.FixtureRequest, kind: Kind) -> str | None:
    url: str | None = request.getfixturevalue("postgres_server") if kind == "postgres" else None
    return url


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
async def test_no_round_is_lost_by_crashes(server: str | None, kind: Kind, tmp_path: Path) -> None:
    hasty = {point: min(1.0, 3 * chance) for point, chance in FREQUENT.items()}
    run = Run(kills=KILLS, work=Work(rounds=2), kills_at=hasty, pause=1.5, patience=PATIENCE)
    outcome = await crash(run, tmp_path / "crash", server)
    without = await calm(run, outcome.waves, tmp_path / "calm", server)
    assert outcome.problems + differences(outcome.history, without) == []
    assert outcome.kills.total() >= KILLS
    assert report(outcome, kind, []).endswith("ok, every model as without faults")


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_second_model_for_a_round_does_not_go_unseen(server: str | None, tmp_path: Path) -> None:
    run = replace(
        short("replace-model", "replace-model"),
        work=Work(rounds=2),
        repeats_of={"committed": 1.0},
        kills_at={},
        pause=None,
    )
    outcome = await crash(run, tmp_path / "crash", server)
    assert any("round.aggregated of all too many" in problem for problem in outcome.problems)


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
async def test_a_peer_takes_over(server: str | None, tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        outcome = await takeover(kills=2, handovers=1, directory=tmp_path, server=server, lease_seconds=1.0)
    assert outcome.problems == []
    assert (len(outcome.kills), len(outcome.handovers)) == (2, 1)
