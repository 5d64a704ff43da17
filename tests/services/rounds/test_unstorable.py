"""What no database can store fails alone, with a reason: it takes nothing along, and nothing is tried for ever."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain.rounds import Participation, Round
from app.domain.tasks import Observation
from app.services.rounds.files import RoundFiles
from app.store.leases import Lease
from app.store.model_store import StoredFile
from tcsfeel.text import SHOWN
from tcsfeel.wire.codec import encode
from tcsfeel.wire.tasks import LARGEST_LOSS, TaskResult, result_metadata
from tests.planes import Adder, Plane, plane, policy
from tests.services.courses import parts, statuses
from tests.services.rounds.foreign import CODES, INT8, RESULT, STEP, Foreign, join
from tests.store.samples import a_round

pytestmark = pytest.mark.untraced

GOOD = {"num_examples": 10, "loss": 1.0, "accuracy": 0.5}
POISON: dict[str, dict[str, Any]] = {
    "an integer of many digits": {"num_examples": 10**30},
    "a loss that is not a number": {"loss": float("nan")},
    "an infinite loss": {"loss": float("inf")},
    "half a character": {"update": "\ud800"},
}


async def owning(running: Plane, clients: str) -> tuple[Lease, Round]:
    """A round in training, of a training whose lease is ours."""
    training_id = await running.create(clients=len(clients))
    await running.system.trainings.start(training_id)
    parts = tuple(Participation(client_id=name, status="training", attempts=1) for name in clients)
    round_ = a_round(training_id, participations=parts)
    async with running.system.db.begin() as tx:
        claim = await tx.leases.claim("us", 60.0)
        await tx.rounds.add(round_)
        await tx.rounds.add_participations(round_)
    assert claim is not None
    return claim.lease, round_


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_one_participation_takes_no_other_along(
    database_url: str, tmp_path: Path, poison: dict[str, Any]
) -> None:
    clients = "abcdef"
    async with plane(tmp_path, database_url, {name: Adder() for name in clients}) as running:
        lease, value = await owning(running, clients)
        ledger = running.system.coordinator._engine._ledger
        settling = []
        for part in value.participations:
            given = GOOD | (poison if part.client_id in "be" else {})
            came = replace(part, status="received", finished_at=1.0, **given)
            settling.append(ledger.settled(lease, value, came, Observation()))
        assert await asyncio.gather(*settling) == [True, False, True, True, False, True]
        stored = await running.round(value.training_id, 1)
        known = (await running.system.clients.page(limit=10, after=None, status=None, tags=[])).items
    for part in stored.participations:
        if part.client_id in "be":
            assert part.status == "failed"
            assert (part.reason or "").startswith("its result cannot be stored: ")
        else:
            assert (part.status, part.num_examples, part.reason) == ("received", 10, None)
    assert {client.id for client in known if client.rounds_completed} == set("acdf")


class Poisoning(RoundFiles):
    """Gives a model, and measurements, that no database can store."""

    def aggregate(self, *_: Any) -> tuple[StoredFile, str | None]:
        return StoredFile("0" * 64, 10**30), None


class Measuring(RoundFiles):
    """Gives a measurement that no database can store."""

    def measurement(self, *_: Any) -> TaskResult:
        measured = TaskResult(num_examples=1, loss=0.0, accuracy=0.5)
        object.__setattr__(measured, "loss", float("nan"))  # a value that its rule would refuse
        return measured


async def test_a_model_that_cannot_be_stored_ends_its_round(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}) as running:
        engine = running.system.coordinator._engine
        engine._files = Poisoning(engine._files.models, engine._files.spool_directory)
        round_ = await running.run_round(await running.create(round_policy=policy()))
        assert round_.status == "abandoned"
        assert (round_.failure_reason or "").startswith("the round cannot be stored: ")


async def test_a_measurement_that_cannot_be_stored_is_left_out(database_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, database_url, {"a": Adder()}) as running:
        files = running.system.participants._files
        running.system.participants.results._files = Measuring(files.models, files.spool_directory)
        training_id = await running.create(round_policy=policy())
        round_ = await running.run_round(training_id)
        assert (round_.status, round_.average_loss, round_.average_accuracy) == ("completed", None, None)
        assert "nan is not a finite number" in (round_.failure_reason or "")
        assert await running.weight(training_id) == 1.0


async def test_the_largest_losses_end_no_training(database_url: str, tmp_path: Path) -> None:
    trainers = {name: Adder(loss=LARGEST_LOSS, examples=10) for name in "ab"}
    async with plane(tmp_path, database_url, trainers) as running:
        training_id = await running.create()
        for _ in range(2):
            assert (await running.run_round(training_id)).status == "completed"


EVIL = "w\0\x1b[2J\r\n\u202e\U000e0001"
SAYING: dict[str, bytes] = {
    "a scale's name": encode(
        CODES,
        result_metadata(RESULT) | {"update_encoding": json.dumps({"name": "int8", "scales": {EVIL: -1.0}})},
    ),
    "a name of many scales": encode(
        CODES, result_metadata(RESULT) | {"update_encoding": json.dumps({"name": "int8", "scales": {EVIL: 1.0}})}
    ),
    "half a character in a scale's name": encode(
        CODES, result_metadata(RESULT) | {"update_encoding": '{"name": "int8", "scales": {"\\ud800": -1.0}}'}
    ),
    "a tensor's name": encode({EVIL: np.zeros(3, np.float32)}, result_metadata(RESULT)),
    "a long name": encode({"w" * 256: np.zeros(3, np.float32)}, result_metadata(RESULT)),
    "an encoding's name": encode(CODES, result_metadata(RESULT) | {"update_encoding": json.dumps({"name": EVIL})}),
    "a field's name": encode(CODES, {"result": json.dumps({EVIL: 1})}),
    "an integer of many digits": encode(CODES, {"result": '{"num_examples": 1' + "0" * 5000 + "}"}),
    "a number beyond the floats": encode(CODES, {"result": '{"num_examples": 1, "loss": 1e999, "accuracy": 1}'}),
}


@pytest.mark.parametrize("body", SAYING.values(), ids=SAYING.keys())
async def test_what_an_agent_writes_is_shown_as_one_line_and_harms_nobody(
    database_url: str, tmp_path: Path, body: bytes
) -> None:
    async with plane(tmp_path, database_url, {"good": Adder(STEP), "bad": Adder()}) as running:
        join(running, "bad", Foreign(lambda *_: (body, {})))
        training_id = await running.create(uploads=INT8, round_policy=policy(quorum=0.5), evaluation_clients=0)
        round_ = await running.run_round(training_id)
        assert (round_.status, statuses(round_)) == ("completed", {"good": "received", "bad": "rejected"})
        async with running.system.db.read() as tx:
            told = (await tx.events.after(0, training_id=training_id, limit=100)).items
    reason = parts(round_)["bad"].reason or ""
    assert reason.isprintable()
    assert 0 < len(reason) <= SHOWN
    assert reason in {event.data.get("reason") for event in told}
