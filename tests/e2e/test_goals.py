"""Trainers that do not classify reach their goals, through each of the interfaces, over real sockets."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from examples import language_trainer, regression_trainer
from tcsfeel import Client
from tcsfeel.agent import Trainer, hosting
from tests.e2e.servers import Server, call, server

RULES = {"strategy": "random", "min_clients": 3, "max_clients": 3}
RMSE = {"metric": "rmse", "mode": "min", "target": 0.2}
PERPLEXITY = {"metric": "perplexity", "mode": "min", "patience": 2, "min_delta": 0.05}


def fleet(make: Any) -> Mapping[str, Trainer]:
    return {f"edge-{seed}": make(seed=seed) for seed in range(3)}


async def test_a_regression_reaches_its_target_through_the_command_line(sqlite_url: str, tmp_path: Path) -> None:
    async with (
        server(tmp_path, sqlite_url) as plane,
        hosting(fleet(regression_trainer.trainer), server_url=plane.url, api_key=plane.key),
    ):
        body = tmp_path / "body.json"
        body.write_text(json.dumps({"selection": RULES}))
        asked = ["train", "--name", "heights", "--body", str(body), "--goal", "rmse:min:0.2", "--watch"]
        status, shown, told = await tcsfeel(plane, *asked)
        assert status == 0, told
        *lines, end = shown.splitlines()
        assert end.startswith("completed: target: round ")
        assert end.endswith("the target was rmse of 0.2 or less")
        ended = [line for line in lines if line.startswith("round ")]  # a busy machine may say that it stalled, too
        assert ended
        assert all("  rmse " in line for line in ended), lines
        assert "accuracy" not in shown


async def test_a_regression_shows_what_was_measured_through_rest(database_url: str, tmp_path: Path) -> None:
    async with (
        server(tmp_path, database_url) as plane,
        plane.api() as api,
        hosting(fleet(regression_trainer.trainer), server_url=plane.url, api_key=plane.key),
    ):
        made = await call(api, "POST", "/v1/trainings", json={"name": "heights", "selection": RULES, "goal": RMSE})
        path = f"/v1/trainings/{made['id']}"
        round_ = await call(api, "POST", f"{path}/rounds", headers={"Prefer": "wait=30"})
        assert (round_["average_accuracy"], round_["goal_value"]) == (None, round_["metrics"]["rmse"]["mean"])
        assert round_["metrics"].keys() == round_["training_metrics"].keys() == {"loss", "rmse", "mae"}
        assert round_["metrics"]["rmse"]["clients"] == 3
        for part in (*round_["participations"], *round_["evaluations"]):
            assert part["metrics"]["rmse"] == pytest.approx(part["loss"] ** 0.5)
            assert part["accuracy"] is None
        training = await call(api, "GET", path)
        assert (training["best_value"], training["best_round"]) == (round_["goal_value"], 1)
        assert (training["accuracy"], training["target_accuracy"]) == (None, None)
        versions = (await call(api, "GET", f"{path}/models"))["items"]
        assert versions[0]["goal_value"] == round_["goal_value"]
        shown = (await api.get("/metrics")).text
        assert f'federated_goal_value{{metric="rmse",training="{made["id"]}"}}' in shown
        assert f'federated_round_accuracy{{training="{made["id"]}"}}' not in shown


async def test_a_language_model_trains_until_it_improves_no_more_through_the_client(
    sqlite_url: str, tmp_path: Path
) -> None:
    def train(url: str, key: str) -> tuple[Any, Any]:
        with Client(url, key) as client:
            steps = {"learning_rate": 1.0, "local_epochs": 5}
            ended = client.train(name="letters", selection=RULES, goal=PERPLEXITY, hyperparameters=steps, max_rounds=60)
            return ended, client.rounds(ended.id).to_pandas()

    async with (
        server(tmp_path, sqlite_url) as plane,
        hosting(fleet(language_trainer.trainer), server_url=plane.url, api_key=plane.key),
    ):
        training, table = await asyncio.to_thread(train, plane.url, plane.key)
    assert (training.status, training.stop_reason) == ("completed", "no_improvement")
    assert str(training.stop_detail).startswith("perplexity has not improved by more than 0.05 in 2 rounds")
    assert 1.0 < training.best_value < 3.0, "eight letters, of which one is likely"
    measured = table["metrics.perplexity.mean"]
    assert measured.min() == training.best_value
    assert measured.iloc[-1] > 2 * training.best_value, "the oldest round comes last, and knew little"


async def tcsfeel(plane: Server, *arguments: str) -> tuple[int, str, str]:
    """Run the command, and give its status and what it wrote."""

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-c", "from tcsfeel.cli import main; main()", *arguments]
        return subprocess.run(  # noqa: S603  (the command is ours)
            [*command, "--server", plane.url, "--key", plane.key],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    ended = await asyncio.to_thread(run)
    return ended.returncode, ended.stdout, ended.stderr
