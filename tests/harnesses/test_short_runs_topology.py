"""The Compose topology trains without an engine, and goes on although a server is killed in the middle of a round."""

from pathlib import Path

import pytest

from tests.harnesses.composed import Missing
from tests.harnesses.topology import topology


async def test_the_topology_finishes_its_training_without_a_server_that_was_killed(
    postgres_server: str, tmp_path: Path
) -> None:
    try:
        outcome = await topology(tmp_path, postgres_server)
    except Missing as missing:
        pytest.skip(str(missing))
    assert outcome.problems == []
    assert outcome.killed_in_round > 1
    assert outcome.report().endswith("ok")
