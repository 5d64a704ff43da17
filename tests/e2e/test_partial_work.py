"""Devices that push and pull hand over a part of their work, over real sockets."""

import asyncio
import math
from pathlib import Path

import pytest

from tcsfeel.agent import FitResult, Parameters, Task, hosting, seconds_left
from tcsfeel.wire.codec import decode
from tests.e2e.servers import call, server, unhandled
from tests.planes import Adder

BODY = {
    "name": "parts of the work",
    "selection": {"strategy": "random", "min_clients": 3, "max_clients": 3},
    "evaluation": {"clients": 0},
}


class Stopping(Adder):
    """Does one of four steps, because a part is wanted, and notes how many seconds were left."""

    left = math.inf

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self.left = seconds_left()
        self.steps, self.asked_steps = (1 if self.left < math.inf else 4), 4
        return super().fit(parameters, task)


async def test_a_part_of_the_work_counts_beside_whole_updates_that_were_pushed_and_pulled(
    sqlite_url: str, tmp_path: Path
) -> None:
    part, whole = Stopping(10.0), {"push": Adder(1.0)}
    async with server(tmp_path, sqlite_url) as plane, plane.api() as api:
        made = await call(api, "POST", "/v1/invitations", json={"uses": 2})
        asking = {"pull": Adder(1.0), "pull-part": part}
        async with (
            hosting(whole, server_url=plane.url, api_key=plane.key),
            hosting(
                asking, server_url=plane.url, invite=made["secret"], state=tmp_path / "state", pull=True, threads=2
            ),
        ):
            training = await call(api, "POST", "/v1/trainings", json=BODY)
            path = f"/v1/trainings/{training['id']}"
            round_ = await call(api, "POST", f"{path}/rounds", headers={"Prefer": "wait=60"})
            found = {one["client_id"]: one for one in round_["participations"]}
            assert {one["status"] for one in found.values()} == {"received"}, round_
            assert (found["pull-part"]["num_steps"], found["pull-part"]["asked_steps"]) == (1, 4)
            assert found["push"]["asked_steps"] is found["pull"]["asked_steps"] is None
            assert {name: one["weight"] for name, one in found.items()} == pytest.approx(
                {"push": 4 / 9, "pull": 4 / 9, "pull-part": 1 / 9}
            )
            assert part.left < 0.9 * training["round_policy"]["deadline_seconds"]
            weight = float(decode((await api.get(f"{path}/model")).content)[0]["w"][0])
            assert weight == pytest.approx((4 + 4 + 10) / 9, rel=1e-6)
            told = await call(api, "GET", f"/v1/events?training={training['id']}&limit=100")
            assert [
                one["data"]["asked_steps"] for one in told["items"] if one["type"] == "participation.received"
            ].count(4) == 1
            await asyncio.to_thread(plane.stop)
    assert unhandled(plane.log) == []
