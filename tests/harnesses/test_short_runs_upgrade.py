"""The harness of upgrades works, in a run of a few seconds, with this version as the earlier one."""

from pathlib import Path

from tests.harnesses.crash import Run
from tests.harnesses.upgrade import upgrade
from tests.harnesses.waves import Work


async def test_no_round_is_lost_while_replicas_are_replaced_one_by_one(postgres_server: str, tmp_path: Path) -> None:
    outcome = await upgrade(Run(work=Work(rounds=2)), 1, tmp_path, postgres_server, None)
    assert outcome.problems == []
    assert outcome.kills.keys() == {"earlier", "newer"}
    assert outcome.report("postgres").endswith("ok, every model as without an upgrade")
