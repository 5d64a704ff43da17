"""What relays measure while they relay, and relays that bring nothing, over the product's own path."""

from pathlib import Path

import pytest

from app.domain.relays import groups
from tests.planes import Adder, policy
from tests.services.rounds.test_relaying import TREE, relayed


async def test_a_relay_that_brings_nothing_is_in_no_tree_after_three_rounds(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.domain.links.LEAST_BYTES", 1)
    trainers = {name: Adder(0.0) for name in "rabc"}  # which never come to the goal
    async with relayed(tmp_path, database_url, trainers, TREE) as (running, wire):
        training_id = await running.create(topology="relay", max_rounds=9, round_policy=policy(quorum=0.5))
        await running.run_round(training_id)
        assert {link.pair for link in await running.system.connectivity.measured()} == {("a", "r"), ("b", "r")}
        assert (await running.system.clients.get("r")).measured.relaying == 1.0
        wire.cut |= {"a", "b"}
        for relaying in (0.7, 0.49, 0.343):
            assert groups(await running.run_round(training_id)).keys() == {"r"}
            assert (await running.system.clients.get("r")).measured.relaying == pytest.approx(relaying)
        assert groups(await running.run_round(training_id)) == {}
        assert (await running.system.clients.get("r")).measured.relaying == pytest.approx(0.343 + 0.02 * 0.657)
