"""What goes wrong at a client is shown to an operator, over real sockets: who, in which phase, why, and where."""

import asyncio
import csv
from pathlib import Path
from typing import Any

import numpy as np

from tcsfeel import Client
from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task, hosting
from tests.e2e.servers import server
from tests.e2e.test_goals import tcsfeel

RULES = {"strategy": "random", "min_clients": 4, "max_clients": 4}


class Sound:
    """Moves its one parameter, and measures how far it is from 10."""

    def initial_parameters(self) -> Parameters:
        return {"w": np.zeros(2, np.float32)}

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        del task
        return FitResult({"w": parameters["w"] + np.float32(1)}, 10, 0.5)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        del task
        return EvaluateResult(10, float(10 - parameters["w"][0]))

    def profile(self) -> Profile:
        return Profile(data_size=10)


class Empty(Sound):
    """Holds no examples out."""

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        del parameters, task
        return EvaluateResult(0, float("nan"))


class NotANumber(Sound):
    """Measures NaN."""

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        del parameters, task
        return EvaluateResult(10, float("nan"))


class Mistaken(Sound):
    """Looks for a column that is not there."""

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        del parameters
        return EvaluateResult(10, {"loss": 1.0}[task.kind])


async def test_evaluations_that_fail_are_named_and_keep_nobody_from_training(database_url: str, tmp_path: Path) -> None:
    """The fault: two such clients were shut out by their breakers, and the third round was abandoned without a word."""
    fleet = {"sound": Sound(), "empty": Empty(), "nan": NotANumber(), "mistaken": Mistaken()}

    def train(url: str, key: str) -> tuple[Any, Any, dict[str, Any]]:
        with Client(url, key) as client:
            goal = {"metric": "loss", "mode": "min"}
            ended = client.train(name="t", selection=RULES, goal=goal, max_rounds=4)
            rounds = [client.get_round(ended.id, number) for number in range(1, 5)]
            return ended, rounds, {one.id: one for one in client.clients()}

    async with server(tmp_path, database_url) as plane, hosting(fleet, server_url=plane.url, api_key=plane.key):
        training, rounds, clients = await asyncio.to_thread(train, plane.url, plane.key)
        _, shown, _ = await tcsfeel(plane, "rounds", training.id)
        _, table, _ = await tcsfeel(plane, "rounds", training.id, "--csv")
    assert (training.status, training.best_value) == ("completed", 6.0)
    assert [{part.status for part in one.participations} for one in rounds] == [{"received"}] * 4
    ends = {one.client_id: one for one in rounds[0].evaluations}
    assert (ends["sound"].status, ends["sound"].loss) == ("received", 9.0)
    assert (ends["empty"].status, ends["empty"].num_examples) == ("skipped", 0)
    assert (ends["nan"].status, ends["nan"].attempts, ends["nan"].traceback) == ("failed", 1, None)
    assert ends["nan"].reason == "its trainer failed: loss is nan: it should be a finite number"
    assert (ends["mistaken"].status, ends["mistaken"].attempts) == ("failed", 1)
    reason, lines = ends["mistaken"].reason, ends["mistaken"].traceback.splitlines()
    assert reason.startswith("its trainer failed: KeyError: 'evaluate' (test_failures.py:")
    assert lines[-2:] == ['    return EvaluateResult(10, {"loss": 1.0}[task.kind])', "KeyError: 'evaluate'"]
    assert str(tmp_path) not in ends["mistaken"].traceback
    assert [sorted(one.client_id for one in asked.evaluations) for asked in rounds[1:]] == [
        ["mistaken", "nan", "sound"], ["mistaken", "nan", "sound"], ["sound"]
    ]  # fmt: skip
    assert {name: (one.breaker, one.failures.faulty) for name, one in clients.items()} == {
        "sound": ("closed", 0), "empty": ("closed", 0), "nan": ("closed", 3), "mistaken": ("closed", 3)
    }  # fmt: skip
    last = clients["mistaken"].failures.last_faulty
    assert (last.phase, last.round, last.reason) == ("evaluate", 3, reason)
    assert f"           mistaken: evaluate failed: {reason}" in shown.splitlines()
    rows = [row for row in csv.DictReader(table.splitlines()) if row["client_id"] == "mistaken"]
    assert [(row["round"], row["kind"], row["status"]) for row in rows if row["kind"] == "evaluate"] == [
        ("1", "evaluate", "failed"), ("2", "evaluate", "failed"), ("3", "evaluate", "failed")
    ]  # fmt: skip
