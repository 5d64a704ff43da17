"""Rounds with devices that have keys: whose updates count, and what proves whose they are."""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from app.http.answers import listed_round, round_out
from app.services.access.keys import AdminKey
from app.services.access.secrets import ServerSecret
from tcsfeel.agent import AgentHost, Signing
from tcsfeel.identity import Identity, verify
from tests.planes import Adder, Plane, plane, policy, settings
from tests.services.courses import parts, statuses
from tests.services.fakes import profile
from tests.store.samples import NOW, client

KEYS = {"admin_key": "k" * 40}
DEVICES = {name: Identity(name.encode() * 32) for name in "abc"}


@asynccontextmanager
async def with_devices(
    directory: Path, database_url: str, trainers: Mapping[str, Adder], devices: Mapping[str, Identity | None]
) -> AsyncIterator[Plane]:
    """A control plane with clients that have keys. Their agents have the given identities, or none."""
    given = settings(directory, database_url, auth=KEYS)
    server_key = Identity(ServerSecret.load(given, AdminKey.load(given)).derive("signing")).public_key
    host = AgentHost()
    for name, trainer in trainers.items():
        identity = devices.get(name)
        host.add(name, trainer, signing=None if identity is None else Signing(identity, server_key))
    async with plane(directory, database_url, trainers, host=host, register=False, auth=KEYS) as running:
        registered = [
            client(
                name,
                profile=profile(f"http://agents{host.path(name)}"),
                public_key=DEVICES[name].public_key,
                last_seen_at=running.system.timekeeper._clock.now(),
            )
            for name in trainers
        ]
        async with running.system.db.begin() as tx:
            await tx.clients.add([replace(one, created_at=NOW) for one in registered])
        yield running
    host.close()


async def test_devices_with_keys_train_and_their_updates_prove_whose_they_are(
    database_url: str, tmp_path: Path
) -> None:
    async with with_devices(tmp_path, database_url, {name: Adder(2.0) for name in "ab"}, DEVICES) as running:
        await running.system.prober.prove(["a", "b"])
        training_id = await running.create()
        round_ = await running.run_round(training_id)
        assert statuses(round_) == {"a": "received", "b": "received"}
        assert {part.status for part in round_.evaluations} == {"received"}
        assert await running.weight(training_id) == 2.0
        for name, part in parts(round_).items():
            evidence = part.evidence
            assert evidence is not None
            digest = base64.b64encode(bytes.fromhex(str(part.digest))).decode()
            assert f'"content-digest": sha-256=:{digest}:\n' in evidence.answer
            assert f"/tasks/{training_id}.1.{name}.fit\n" in evidence.call
            signature = base64.b64decode(evidence.signature.strip(":"))
            assert verify(DEVICES[name].public_key, signature, evidence.answer.encode())
        shown, listed = round_out(round_), listed_round(round_)
        assert all(part.evidence is not None and part.digest for part in shown.participations)
        assert all(part.evidence is None and part.digest for part in listed.participations)


async def test_an_address_that_has_proved_nothing_gets_no_task(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder(2.0) for name in "abc"}
    devices = {"a": DEVICES["a"], "b": DEVICES["c"], "c": None}
    async with with_devices(tmp_path, sqlite_url, trainers, devices) as running:
        training_id = await running.create(clients=1, round_policy=policy(quorum=0.5))
        await running.system.prober.prove(["a", "b", "c"])
        round_ = await running.run_round(training_id)
        assert statuses(round_) == {"a": "received"}
        selection = await running.system.selections.of_round(training_id, 1)
        assert {one.client_id for one in selection.skipped if one.reason.startswith("unproven: ")} == {"b", "c"}
        assert not trainers["b"].fitted
        assert not trainers["c"].fitted
        assert {part.client_id for part in round_.evaluations} == {"a"}


async def test_an_agent_that_took_the_place_of_a_device_is_never_averaged(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(2.0), "b": Adder(1000.0)}
    async with with_devices(tmp_path, sqlite_url, trainers, DEVICES) as running:
        await running.system.prober.prove(["a", "b"])
        running.host.add("b", trainers["b"])  # without the key
        training_id = await running.create(round_policy=policy(quorum=0.5))
        round_ = await running.run_round(training_id)
        assert statuses(round_) == {"a": "received", "b": "failed"}
        assert str(parts(round_)["b"].reason).startswith("unsigned answer: ")
        assert parts(round_)["b"].evidence is None
        assert await running.weight(training_id) == 2.0
