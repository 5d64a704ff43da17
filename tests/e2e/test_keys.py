"""A device with a key of its own, at a server that lets nobody else register."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from examples import minimal_trainer
from tcsfeel.agent import RegistrationRefused, hosting
from tests.e2e.servers import call, server

ONE = {"name": "digits", "selection": {"min_clients": 1, "max_clients": 1}}


async def test_a_device_registers_with_its_own_key_trains_and_is_shut_out(tmp_path: Path, sqlite_url: str) -> None:
    trainer = minimal_trainer.trainer(seed=0)
    async with server(tmp_path, sqlite_url, TCSFEEL_AUTH__REGISTER_BY_KEY="false") as plane, plane.api() as admin:

        def device(client_id: str, key: str) -> AbstractAsyncContextManager[object]:
            return hosting({client_id: trainer}, server_url=plane.url, api_key=key)

        new = await call(admin, "POST", "/v1/keys", json={"name": "d", "role": "agent", "client_id": "edge-0"})
        with pytest.raises(RegistrationRefused, match="lets devices register only with a key of their own"):
            await device("edge-0", plane.key).__aenter__()
        with pytest.raises(RegistrationRefused, match="is of the agent of the client 'edge-0'"):
            await device("edge-1", new["key"]).__aenter__()
        async with device("edge-0", new["key"]):
            training = await call(admin, "POST", "/v1/trainings", json=ONE)
            rounds = f"/v1/trainings/{training['id']}/rounds"
            ran = await call(admin, "POST", rounds, headers={"Prefer": "wait=60"}, timeout=90)
            assert ran["status"] == "completed"
        await call(admin, "DELETE", f"/v1/keys/{new['id']}")
        with pytest.raises(RegistrationRefused, match="was revoked"):
            await device("edge-0", new["key"]).__aenter__()
