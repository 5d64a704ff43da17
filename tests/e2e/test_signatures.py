"""Devices with keys over real sockets: they prove their addresses, train, and their updates prove whose they are."""

import base64
from pathlib import Path

import httpx2

from app.services.access.keys import AdminKey
from app.services.access.secrets import ServerSecret
from app.settings import Settings
from app.store.database import Database
from examples import minimal_trainer
from tcsfeel.agent import Signing, hosting
from tcsfeel.identity import Identity, verify
from tests.e2e.servers import call, server
from tests.planes import until
from tests.store.samples import client

DEVICES = {f"edge-{seed}": Identity.make() for seed in range(3)}


async def test_devices_with_keys_train_and_another_agent_under_their_id_does_not(
    database_url: str, tmp_path: Path
) -> None:
    trainers = {f"edge-{seed}": minimal_trainer.trainer(seed=seed) for seed in range(3)}
    async with server(tmp_path, database_url) as plane, plane.api() as api:
        given = Settings(data_dir=tmp_path / "data", auth={"admin_key": plane.key})
        server_key = Identity(ServerSecret.load(given, AdminKey.load(given)).derive("signing")).public_key
        db = Database(database_url)
        async with db.begin() as tx:  # as their enrolment does
            await tx.clients.add([client(name, public_key=device.public_key) for name, device in DEVICES.items()])
        await db.dispose()
        signings = {name: Signing(DEVICES[name], server_key) for name in ("edge-0", "edge-1")}  # not of edge-2
        async with hosting(trainers, server_url=plane.url, api_key=plane.key, signings=signings):
            await until(lambda: asked(api))
            found = await unproven(api)
            assert (found["edge-0"], found["edge-1"]) == (None, None)
            body = {"name": "signed", "selection": {"strategy": "random", "min_clients": 2, "max_clients": 3}}
            training = await call(api, "POST", "/v1/trainings", json=body)
            path = f"/v1/trainings/{training['id']}/rounds"
            round_ = await call(api, "POST", path, headers={"Prefer": "wait=30"})
    parts = {part["client_id"]: part for part in round_["participations"]}
    assert {name: part["status"] for name, part in parts.items()} == {"edge-0": "received", "edge-1": "received"}
    for name, part in parts.items():
        evidence = part["evidence"]
        assert verify(
            DEVICES[name].public_key,
            base64.b64decode(evidence["signature"].strip(":")),
            evidence["answer"].encode(),
        )
        assert base64.b64encode(bytes.fromhex(part["digest"])).decode() in evidence["answer"]
        assert f".1.{name}.fit\n" in evidence["call"]
        assert f'keyid="{server_key}"' in evidence["call"]


async def asked(api: httpx2.AsyncClient) -> bool:
    """Whether all addresses were asked to prove whose they are."""
    found = await unproven(api)
    return "unsigned answer" in str(found["edge-2"]) and list(found.values()).count(None) == 2


async def unproven(api: httpx2.AsyncClient) -> dict[str, str | None]:
    """Return why each client is unproven, None if it is not."""
    found = await call(api, "GET", "/v1/clients")
    return {item["id"]: item["unproven"] for item in found["items"]}
