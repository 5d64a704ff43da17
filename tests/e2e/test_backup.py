"""A backup that was made in the middle of a round is verified, restored elsewhere, and the training goes on there."""

import asyncio
import threading
from pathlib import Path

import pytest

from examples import minimal_trainer
from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hosting
from tests.e2e.servers import PATIENCE, TAKEN_OVER_SOON, Server, call, command, server, unhandled
from tests.tcsfeel.agent.fakes import eventually

HELD = 3  # the round in whose middle the backup is made
BODY = {
    "name": "digits",
    "selection": {"strategy": "random", "min_clients": 3, "max_clients": 3},
    "max_rounds": 5,
    "round_policy": {"quorum": 1.0},
}


class Held:
    """A trainer whose fit of one round waits until it is let go."""

    def __init__(self, seed: int, *, holds: bool) -> None:
        self._trainer = minimal_trainer.trainer(seed=seed)
        self._holds = holds
        self.waiting, self.gate = threading.Event(), threading.Event()

    def initial_parameters(self) -> Parameters:
        return self._trainer.initial_parameters()

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        if self._holds and task.round == HELD:
            self.waiting.set()
            assert self.gate.wait(PATIENCE)
        return self._trainer.fit(parameters, task)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        return self._trainer.evaluate(parameters, task)

    def profile(self) -> Profile:
        return self._trainer.profile()


async def succeeds(plane: Server, name: str, directory: Path) -> str:
    """Run a command with the settings of a server, and return what it printed."""
    status, said = await command(plane.log.parent, plane.environment, name, str(directory))
    assert status == 0, said
    return said


@pytest.mark.parametrize(
    ("database_url", "blank_database_url"), [("sqlite", "postgres"), ("postgres", "sqlite")], indirect=True
)
async def test_a_training_goes_on_from_a_backup(database_url: str, blank_database_url: str, tmp_path: Path) -> None:
    pull = database_url.startswith("sqlite")  # half of the runs
    trainers = {f"edge-{seed}": Held(seed, holds=seed == 0) for seed in range(3)}
    async with server(tmp_path, database_url, **TAKEN_OVER_SOON) as plane, plane.api() as api:
        made = await call(api, "POST", "/v1/invitations", json={"uses": 3})
        devices = hosting(
            trainers, server_url=plane.url, invite=made["secret"], state=tmp_path / "state", pull=pull, threads=3
        )
        async with devices:
            training = await call(api, "POST", "/v1/trainings", json=BODY)
            path = f"/v1/trainings/{training['id']}"
            await call(api, "POST", f"{path}/start")
            await eventually(trainers["edge-0"].waiting.is_set)
            before = await call(api, "GET", f"{path}/rounds?limit=100")
            said = await succeeds(plane, "backup", tmp_path / "backup")
            assert said.startswith("backed up ")
            assert "the backup is complete" in await succeeds(plane, "verify", tmp_path / "backup")
            plane.kill()
            again = Server(tmp_path / "again", blank_database_url, TCSFEEL_AUTH__ADMIN_KEY=plane.key)
            again.key, again.port, again.url = plane.key, plane.port, plane.url
            (tmp_path / "again").mkdir()
            assert (await succeeds(again, "restore", tmp_path / "backup")).startswith("restored ")
            await again.start()
            try:
                trainers["edge-0"].gate.set()
                async with asyncio.timeout(PATIENCE):
                    while (await call(api, "GET", path))["status"] == "running":  # noqa: ASYNC110  (of another process)
                        await asyncio.sleep(0.1)
                ended = await call(api, "GET", path)
                assert (ended["status"], ended["current_round"]) == ("completed", 5)
                rounds = (await call(api, "GET", f"{path}/rounds?limit=100"))["items"]
                done = [one for one in before["items"] if one["ended_at"] is not None]
                assert [one["number"] for one in done] == [2, 1]
                assert rounds[-2:] == done
                assert (await api.get(f"{path}/model?round=1")).is_success
            finally:
                again.kill()
    assert unhandled(again.log) == []
