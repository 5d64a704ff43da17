"""Where a training's first parameters come from when nobody has uploaded any: its clients are asked."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.domain.breaker import Breaker
from tcsfeel.agent import Parameters
from tests.planes import Adder, plane, policy


async def test_an_agent_without_model_is_passed_over_for_the_next(sqlite_url: str, tmp_path: Path) -> None:
    trainers = {"a": Adder(), "b": Adder()}

    def broken() -> None:
        raise RuntimeError("no model here")

    trainers["a"].initial_parameters = broken  # type: ignore[method-assign,assignment]  # one agent is broken
    async with plane(tmp_path, sqlite_url, trainers) as running:
        round_ = await running.run_round(await running.create())
        assert round_.status == "completed"


async def test_who_is_asked_for_a_model_while_its_breaker_is_open_is_probed(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        async with running.system.db.begin() as tx:
            client = await tx.clients.get("a")
            await tx.clients.put(replace(client, breaker=Breaker(state="open", retry_at=1.0, openings=1)))
        round_ = await running.run_round(await running.create())
        assert round_.status == "completed"
        async with running.system.db.read() as tx:
            told = [event.type for event in (await tx.events.after(0, limit=100)).items]
    about = [kind for kind in told if kind.startswith(("breaker.", "training.model", "round.planned"))]
    assert about == ["breaker.half_open", "breaker.closed", "training.model_fetched", "round.planned"]


async def test_an_agent_that_hangs_cannot_hold_a_round_past_its_deadline(sqlite_url: str, tmp_path: Path) -> None:
    hung = threading.Event()

    class Hanging(Adder):
        def initial_parameters(self) -> Parameters:
            hung.wait(20)
            return super().initial_parameters()

    async with plane(tmp_path, sqlite_url, {"a": Hanging()}) as running:
        training_id = await running.create(round_policy=policy(deadline_seconds=4.0))
        round_ = await running.run_round(training_id)
        hung.set()
        assert (round_.status, round_.failure_reason) == (
            "abandoned",
            "no initial model: client 'a': the agent did not answer in time",
        )
        assert round_.ended_at is not None
        assert round_.ended_at < round_.deadline_at + 10, "it did not wait for the agent"


async def test_an_initial_model_that_is_not_finite_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    class Broken(Adder):
        def initial_parameters(self) -> Parameters:
            return {"w": np.array([np.nan], np.float32)}

    async with plane(tmp_path, sqlite_url, {"a": Broken()}) as running:
        round_ = await running.run_round(await running.create())
        assert round_.status == "abandoned"
        assert "tensor 'w' holds values that are not finite" in str(round_.failure_reason)
        assert [path for path in (tmp_path / "models").rglob("*") if path.is_file()] == []


async def test_a_round_without_a_first_model_names_each_client_that_was_asked(sqlite_url: str, tmp_path: Path) -> None:
    class Broken(Adder):
        def initial_parameters(self) -> Parameters:
            return {"w": np.array([np.nan], np.float32)}

    async with plane(tmp_path, sqlite_url, {"a": Broken(), "b": Broken()}) as running:
        round_ = await running.run_round(await running.create())
        assert round_.failure_reason == (
            "no initial model: client 'a': tensor 'w' holds values that are not finite; "
            "client 'b': tensor 'w' holds values that are not finite"
        )
