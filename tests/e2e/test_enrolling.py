"""Devices enrol over real sockets, register with keys of their own, train, and are shut out."""

from pathlib import Path

import httpx2
import pytest

from examples import minimal_trainer
from tcsfeel.agent import RegistrationRefused, hosting
from tests.e2e.servers import call, server, unhandled


async def test_devices_enrol_once_and_come_back_with_their_own_keys(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {f"edge-{seed}": minimal_trainer.trainer(seed=seed) for seed in range(3)}
    state = tmp_path / "state"
    async with server(tmp_path, sqlite_url) as plane, plane.api() as api:
        made = await call(api, "POST", "/v1/invitations", json={"uses": 3, "tags": {"site": "north"}})
        async with hosting(trainers, server_url=plane.url, invite=made["secret"], state=state) as first:
            keys = {name: member.key for name, member in first.members.items()}
            listed = await call(api, "GET", "/v1/clients", params={"tag": "site:north"})
            assert [client["id"] for client in listed["items"]] == sorted(trainers)
            assert len({client["public_key"] for client in listed["items"]}) == 3
            body = {"name": "digits", "selection": {"strategy": "random", "min_clients": 3, "max_clients": 3}}
            training = await call(api, "POST", "/v1/trainings", json=body)
            path = f"/v1/trainings/{training['id']}/rounds"
            finished = await call(api, "POST", path, headers={"Prefer": "wait=30"})
            statuses = {part["client_id"]: part["status"] for part in finished["participations"]}
            assert statuses == dict.fromkeys(trainers, "received"), finished
        async with hosting(trainers, server_url=plane.url, state=state) as again:
            assert {name: member.key for name, member in again.members.items()} == keys
        assert (await call(api, "GET", f"/v1/invitations/{made['id']}"))["used"] == 3
        enrolments = await call(api, "GET", f"/v1/invitations/{made['id']}/enrolments")
        await call(api, "DELETE", f"/v1/clients/{enrolments['items'][0]['client_id']}")
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {keys['edge-0']}"}) as lost:
            assert (await lost.get(f"{plane.url}/v1/clients/edge-0")).status_code == 401
        with pytest.raises(RegistrationRefused, match="401 the device's key in the header `Authorization` was revoked"):
            async with hosting(trainers, server_url=plane.url, state=state):
                pytest.fail("a device that was shut out has registered")
    assert unhandled(plane.log) == []
