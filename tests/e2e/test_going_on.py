"""A training that goes on after its end, and one that starts from a version of it, by the command line over sockets."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tcsfeel.agent import Profile, Trainer, hosting
from tcsfeel.wire.codec import decode
from tests.e2e.servers import Server, server
from tests.e2e.test_goals import tcsfeel
from tests.planes import Adder

ONE = ["--strategy", "random", "--min-clients", "1", "--max-clients", "9", "--goal", "loss:min"]


class Sited(Adder):
    """Adds 1 in each round, and has its data at a site."""

    def __init__(self, site: str) -> None:
        super().__init__(1.0)
        self.site = site

    def profile(self) -> Profile:
        return replace(super().profile(), tags={"site": self.site})


async def ended(plane: Server, *arguments: str) -> tuple[dict[str, Any], dict[int, list[str]]]:
    """Follow a training to its end: the training, and the clients that were selected in each round."""
    status, shown, told = await tcsfeel(plane, *arguments, "--watch", "--json")
    assert status == 0, told
    *rounds, training = [json.loads(line) for line in shown.splitlines()]
    return training, {one["number"]: sorted(part["client_id"] for part in one["participations"]) for one in rounds}


async def weight(plane: Server, training: dict[str, Any]) -> float:
    async with plane.api() as api:
        model = await api.get(f"/v1/trainings/{training['id']}/model")
    return float(decode(model.content)[0]["w"][0])


async def test_a_training_is_extended_and_another_starts_from_one_of_its_rounds(
    sqlite_url: str, tmp_path: Path
) -> None:
    sites = {"edge-1": "north", "edge-2": "north", "edge-3": "south"}
    trainers: Mapping[str, Trainer] = {client_id: Sited(site) for client_id, site in sites.items()}
    async with server(tmp_path, sqlite_url) as plane, hosting(trainers, server_url=plane.url, api_key=plane.key):
        conditions = ["--tag", "site:north", "--exclude", "edge-2"]
        first, chosen = await ended(plane, "train", "--name", "first", *ONE, *conditions, "--max-rounds", "2")
        assert (first["stop_reason"], chosen) == ("max_rounds", {1: ["edge-1"], 2: ["edge-1"]})
        assert await weight(plane, first) == 2.0

        extended, chosen = await ended(plane, "extend", first["id"], "--rounds", "1")
        assert (extended["id"], extended["max_rounds"], chosen[3]) == (first["id"], 3, ["edge-1"])
        assert await weight(plane, extended) == 3.0

        start = ["--from", f"{first['id']}:1", "--tag", "site:south", "--max-rounds", "2"]
        fork, chosen = await ended(plane, "train", *start)
        assert (fork["name"], fork["origin"]["training"], fork["origin"]["round"]) == ("first", first["id"], 1)
        assert chosen == {2: ["edge-3"]}
        assert await weight(plane, fork) == 2.0

        newest, chosen = await ended(plane, "train", "--from", first["id"], "--exclude", "edge-1", "--max-rounds", "4")
        assert newest["origin"]["round"] == 3
        assert chosen == {4: ["edge-2"]}, "the tag is that of the first training"
        assert await weight(plane, newest) == 4.0
