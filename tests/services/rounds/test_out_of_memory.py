"""An answer that the server has no memory for fails with that reason, and the round goes on without it."""

from pathlib import Path
from typing import Any

from app.domain.clients import Client
from app.domain.trainings import TrainingConfig
from app.services.rounds.files import Checked, FirstModel, RoundFiles
from app.services.rounds.phase import Phase
from app.services.tasks.assignments import Result
from app.store.model_store import ModelStore, StoredFile
from tcsfeel.wire.tasks import TaskResult
from tests.planes import Adder, Plane, plane, policy
from tests.services.courses import parts


class Exhausted(RoundFiles):
    """Has no memory for what one client sends."""

    def adopt_initial(self, spool: ModelStore, received: StoredFile, config: TrainingConfig) -> FirstModel:
        if "of.small" in str(spool.path(received.sha256)):
            raise MemoryError
        return super().adopt_initial(spool, received, config)

    def check(self, phase: Phase, client: Client, came: Result) -> Checked:
        if client.id == "small":
            raise MemoryError
        return super().check(phase, client, came)

    def measurement(self, spool: ModelStore, answer: StoredFile, *args: Any) -> TaskResult | None:
        if "of.small" in str(spool.path(answer.sha256)):
            raise MemoryError
        return super().measurement(spool, answer, *args)


def exhaust(running: Plane) -> None:
    these = running.system.participants
    these._files = these.results._files = Exhausted(these._files.models, these._files.spool_directory)


async def test_a_round_goes_on_without_an_answer_that_there_is_no_memory_for(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"large": Adder(1.0), "small": Adder(5.0)}
    async with plane(tmp_path, sqlite_url, trainers) as running:
        exhaust(running)
        training_id = await running.create(round_policy=policy(quorum=0.5))
        round_ = await running.run_round(training_id)
        small = parts(round_)["small"]
        assert (round_.status, parts(round_)["large"].status) == ("completed", "received")
        assert (small.status, small.reason) == ("failed", "the server did not have the memory to read its answer")
        assert await running.weight(training_id) == 1.0
        assert round_.average_accuracy == 0.1  # of the other one alone
        assert (await running.system.clients.get("small")).breaker.consecutive_failures == 0, "it was not at fault"


async def test_an_initial_model_that_there_is_no_memory_for_is_asked_of_the_next(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, sqlite_url, {"small": Adder()}) as running:
        exhaust(running)
        round_ = await running.run_round(await running.create())
        assert (round_.status, round_.failure_reason) == (
            "abandoned",
            "no initial model: client 'small': the server did not have the memory to read its answer",
        )
        assert not list((tmp_path / "spool").rglob("of.*"))
