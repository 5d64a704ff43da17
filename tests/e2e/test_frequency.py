"""A client whose claims a strategy likes best has its share of the rounds and not more, over real sockets."""

from collections.abc import Mapping
from pathlib import Path

from tcsfeel.agent import Trainer, hosting
from tests.e2e.servers import call, server
from tests.e2e.test_going_on import ended
from tests.planes import Adder


async def test_a_claim_buys_the_share_that_the_command_line_allows(sqlite_url: str, tmp_path: Path) -> None:
    claims = {"edge-1": 190, "edge-2": 10, "edge-3": 10}
    trainers: Mapping[str, Trainer] = {client_id: Adder(examples=count) for client_id, count in claims.items()}
    async with (
        server(tmp_path, sqlite_url) as plane,
        hosting(trainers, server_url=plane.url, api_key=plane.key),
        plane.api() as api,
    ):
        rules = ["--strategy", "documented", "--min-clients", "1", "--max-clients", "1", "--largest-multiple", "1"]
        # in 4 * 3 places, each client may have 4
        training, chosen = await ended(plane, "train", "--name", "x", *rules, "--max-rounds", "5")
        assert training["selection"]["largest_multiple"] == 1.0
        first = chosen[1]
        assert [chosen[number] for number in range(1, 5)] == [first] * 4
        assert chosen[5] != first
        selection = await call(api, "GET", f"/v1/trainings/{training['id']}/rounds/5/selection")
        reasons = {one["client_id"]: one["reason"] for one in selection["skipped"]}
        assert reasons[first[0]] == (
            "it was selected in 4 of the last 4 rounds, and its share of the places allows no more than 4"
        )
