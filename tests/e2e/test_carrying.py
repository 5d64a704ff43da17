"""Slow devices whose updates count in a later round, over real sockets, although the server is killed in between."""

import asyncio
import math
from pathlib import Path

import pytest

from tcsfeel.agent import hosting
from tcsfeel.wire.codec import decode
from tests.e2e.servers import TAKEN_OVER_SOON, call, server, unhandled
from tests.planes import Adder
from tests.tcsfeel.agent.fakes import eventually

BODY = {
    "name": "slow devices",
    "selection": {"strategy": "random", "min_clients": 5, "max_clients": 5},
    "round_policy": {"quorum": 0.6, "grace_seconds": 0.2, "stragglers": "carry"},
    "evaluation": {"clients": 0},
}
WAIT = {"Prefer": "wait=60"}


async def test_updates_of_slow_devices_that_push_and_pull_count_in_a_later_round(
    sqlite_url: str, tmp_path: Path
) -> None:
    called = {"push-1": Adder(1.0), "push-2": Adder(1.0), "push-slow": Adder(4.0)}
    asking = {"pull-1": Adder(1.0), "pull-slow": Adder(4.0)}
    slow = [called["push-slow"], asking["pull-slow"]]
    for trainer in (every := [*called.values(), *asking.values()]):
        trainer.open.clear()
    async with server(tmp_path, sqlite_url, **TAKEN_OVER_SOON) as plane, plane.api() as api:
        made = await call(api, "POST", "/v1/invitations", json={"uses": 2})
        async with (
            hosting(called, server_url=plane.url, api_key=plane.key, threads=3),
            hosting(
                asking, server_url=plane.url, invite=made["secret"], state=tmp_path / "state", pull=True, threads=2
            ),
        ):
            training = await call(api, "POST", "/v1/trainings", json=BODY)
            path = f"/v1/trainings/{training['id']}"
            assert training["round_policy"]["max_staleness"] == 5
            running = asyncio.create_task(call(api, "POST", f"{path}/rounds", headers=WAIT))
            await eventually(lambda: all(trainer.fitted for trainer in every))
            for trainer in every:
                if trainer not in slow:
                    trainer.open.set()
            first = await running
            carried = {one["client_id"] for one in first["participations"] if one["status"] == "carried"}
            assert (first["status"], carried) == ("completed", {"push-slow", "pull-slow"}), first

            plane.kill()
            for trainer in slow:
                trainer.open.set()
            await plane.start()
            await call(
                api, "PATCH", path, json={"round_policy": {"grace_seconds": 60}}
            )  # so that the next one waits for all
            second = await call(api, "POST", f"{path}/rounds", headers=WAIT)
            parts = {one["client_id"]: one for one in second["participations"]}
            assert {one["status"] for one in parts.values()} == {"received"}, second
            for name in carried:
                assert (parts[name]["begun_in"], parts[name]["staleness"]) == (1, 1)
                assert parts[name]["base_model"] is not None
            share = parts["push-slow"]["weight"]
            assert share == pytest.approx(1 / math.sqrt(2) / (3 + math.sqrt(2)))
            assert [list(trainer.fitted.values()) for trainer in slow] == [[1], [1]]
            weight = float(decode((await api.get(f"{path}/model")).content)[0]["w"][0])
            assert weight == pytest.approx((1 - 2 * share) * 2.0 + 2 * share * 5.0, rel=1e-6)
            told = await call(api, "GET", f"/v1/events?training={training['id']}&limit=100")
            types = [one["type"] for one in told["items"]]
            assert types.count("participation.carried") == 2
            await asyncio.to_thread(plane.stop)
    assert unhandled(plane.log) == []
