"""Slow devices whose updates count in a later round, over real sockets, whatever becomes of the server in between."""

import asyncio
import math
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tcsfeel.agent import hosting
from tcsfeel.wire.codec import decode
from tests.e2e.servers import PATIENCE, TAKEN_OVER_SOON, call, server, unhandled
from tests.planes import Adder
from tests.tcsfeel.agent.fakes import eventually

BODY = {
    "name": "slow devices",
    "selection": {"strategy": "random", "min_clients": 5, "max_clients": 5},
    "round_policy": {"quorum": 0.6, "grace_seconds": 0.2, "stragglers": "carry"},
    "evaluation": {"clients": 0},
}
WAIT = {"Prefer": "wait=60"}


async def stop_between_writes(pid: int, sqlite_url: str) -> None:
    """Stop a server while it does not hold SQLite's lock, since another one could not write until it goes on."""
    file = make_url(sqlite_url).database
    assert file is not None
    async with asyncio.timeout(PATIENCE):
        while True:
            os.kill(pid, signal.SIGSTOP)
            with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as probe:
                try:
                    probe.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:  # "database is locked"
                    os.kill(pid, signal.SIGCONT)
                else:
                    return
            await asyncio.sleep(0.05)


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


async def test_a_carried_task_counts_after_its_training_has_moved_to_another_live_server(
    sqlite_url: str, tmp_path: Path
) -> None:
    called, asking = {"push-1": Adder(1.0), "push-2": Adder(1.0)}, {"pull-slow": Adder(4.0)}
    slow = asking["pull-slow"]
    slow.open.clear()
    body = BODY | {"selection": {"strategy": "random", "min_clients": 3, "max_clients": 3}}
    async with server(tmp_path, sqlite_url, **TAKEN_OVER_SOON) as first, first.api() as api:
        made = await call(api, "POST", "/v1/invitations", json={"uses": 1})
        async with (
            hosting(called, server_url=first.url, api_key=first.key, threads=2),
            hosting(asking, server_url=first.url, invite=made["secret"], state=tmp_path / "state", pull=True),
        ):
            training = await call(api, "POST", "/v1/trainings", json=body)
            path = f"/v1/trainings/{training['id']}"
            begun = await call(api, "POST", f"{path}/rounds", headers=WAIT)
            assert [one["status"] for one in begun["participations"] if one["client_id"] == "pull-slow"] == ["carried"]
            await call(api, "PATCH", path, json={"round_policy": {"grace_seconds": 60}})
            for trainer in called.values():
                trainer.open.clear()
            await call(api, "POST", f"{path}/rounds")
            await eventually(lambda: all(len(trainer.fitted) == 2 for trainer in called.values()))

            (tmp_path / "second").mkdir()
            same = TAKEN_OVER_SOON | {
                name: first.environment[name] for name in ("TCSFEEL_DATA_DIR", "TCSFEEL_AUTH__ADMIN_KEY")
            }
            async with server(tmp_path / "second", sqlite_url, **same) as second:
                await stop_between_writes(first.pid, sqlite_url)
                try:
                    async with asyncio.timeout(PATIENCE):
                        while "training taken over" not in second.log.read_text():  # noqa: ASYNC110  (another process rings no bell)
                            await asyncio.sleep(0.05)
                finally:
                    os.kill(first.pid, signal.SIGCONT)
                for trainer in (*called.values(), slow):
                    trainer.open.set()
                async with asyncio.timeout(PATIENCE):
                    while (moved := await call(api, "GET", f"{path}/rounds/2"))["status"] != "completed":  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                parts = {one["client_id"]: one for one in moved["participations"]}
                assert {one["status"] for one in parts.values()} == {"received"}, moved
                assert (parts["pull-slow"]["begun_in"], parts["pull-slow"]["staleness"]) == (1, 1)
                assert [list(one.fitted.values()) for one in (*called.values(), slow)] == [[1, 1], [1, 1], [1]]
                share = 1 / math.sqrt(2) / (2 + 1 / math.sqrt(2))
                weight = float(decode((await api.get(f"{path}/model")).content)[0]["w"][0])
                assert weight == pytest.approx((1 - share) * 2.0 + share * 5.0, rel=1e-6)
                assert unhandled(second.log) == []
    assert unhandled(first.log) == []
