"""The examples do what they say: they learn, together, and the one without the SDK keeps the protocol."""

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import httpx2
import numpy as np
import pytest

from examples import (
    language_trainer,
    minimal_trainer,
    numpy_mlp,
    regression_trainer,
    sklearn_trainer,
    third_party_agent,
)
from tcsfeel.agent import Evaluator, Parameters, Task, Trainer, TrainerNotFound, hosting, load_trainer
from tcsfeel.wire.codec import decode
from tcsfeel.wire.tasks import TaskKind, TaskResult, read_result
from tests.serving import serving
from tests.tcsfeel.agent.fakes import make_task, task_body

ROOT = Path(__file__).parents[3]


def federate(trainers: list[Trainer], rounds: int, **hyperparameters: float) -> float:
    """FedAvg by hand; the mean held-out accuracy at the end."""
    parameters = trainers[0].initial_parameters()
    task = replace(make_task(), hyperparameters={**hyperparameters})
    for _ in range(rounds):
        updates = [trainer.fit(parameters, task) for trainer in trainers]
        total = sum(update.num_examples for update in updates)
        parameters = {
            name: sum(
                (update.parameters[name] * (update.num_examples / total) for update in updates),
                start=np.zeros(array.shape),
            ).astype(array.dtype)
            for name, array in parameters.items()
        }
    evaluators = [trainer for trainer in trainers if isinstance(trainer, Evaluator)]
    assert len(evaluators) == len(trainers)
    return float(np.mean([trainer.evaluate(parameters, task).accuracy for trainer in evaluators]))


def test_the_minimal_trainer_learns() -> None:
    trainers: list[Trainer] = [minimal_trainer.trainer(seed) for seed in range(3)]

    assert federate(trainers, 0) < 0.5
    assert federate(trainers, 20) > 0.9


@pytest.mark.parametrize("module", [language_trainer, minimal_trainer, numpy_mlp, regression_trainer, sklearn_trainer])
def test_slow_devices_with_the_trainers_may_do_fewer_epochs(module: ModuleType) -> None:
    assert module.trainer().profile().elastic


def test_the_numpy_network_learns_digits_from_shards() -> None:
    trainers: list[Trainer] = [numpy_mlp.trainer(shard, shards=8) for shard in range(8)]

    assert federate(trainers, 0) < 0.3
    assert federate(trainers, 15, local_epochs=3, learning_rate=0.3) > 0.9


def test_the_gradients_of_the_numpy_network_are_those_of_its_loss() -> None:
    """Against central differences, in float64 for their sake."""
    rng = np.random.default_rng(0)
    trainer = numpy_mlp.MlpTrainer(np.zeros((4, 3), np.float32), np.zeros(4, np.intp), (3, 5, 2))
    parameters = {name: array.astype(np.float64) for name, array in trainer.initial_parameters().items()}
    inputs, labels = rng.normal(size=(6, 3)), np.array([0, 1, 1, 0, 1, 0])
    found = numpy_mlp.gradients(parameters, inputs, labels)

    for name, array in parameters.items():
        for place in np.ndindex(array.shape):
            losses = []
            for step in (1e-6, -1e-6):
                moved = {**parameters, name: array.copy()}
                moved[name][place] += step
                losses.append(numpy_mlp.measure(moved, inputs, labels)[0])
            assert found[name][place] == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-4)


def distance(left: Parameters, right: Parameters) -> float:
    return float(np.sqrt(sum(np.sum((left[name] - right[name]) ** 2) for name in left)))


def test_the_numpy_network_honours_its_hyperparameters() -> None:
    trainer = numpy_mlp.trainer(0)
    start = trainer.initial_parameters()

    def moved(**hyperparameters: float) -> float:
        task = replace(make_task(), hyperparameters={**hyperparameters})
        return distance(trainer.fit(start, task).parameters, start)

    assert moved(learning_rate=0.0) == 0
    assert moved(local_epochs=5) > moved(local_epochs=1)
    assert moved(batch_size=8) > moved(batch_size=1000)
    assert moved(local_epochs=5, proximal_mu=5.0) < 0.7 * moved(local_epochs=5)
    assert moved(local_epochs=5) == moved(local_epochs=5)  # the same task gives the same update


def test_the_scikit_learn_trainer_learns_digits_from_shards() -> None:
    trainers: list[Trainer] = [sklearn_trainer.trainer(shard, shards=8) for shard in range(8)]

    assert federate(trainers, 0) < 0.3
    assert federate(trainers, 5) > 0.8


def test_the_pytorch_trainer_learns_or_says_what_is_missing() -> None:
    if importlib.util.find_spec("torch") is None:
        with pytest.raises(TrainerNotFound, match="this example needs PyTorch: pip install torch"):
            load_trainer("examples.pytorch_trainer:trainer")
        return
    trainer = load_trainer("examples.pytorch_trainer:trainer")
    assert federate([trainer], 10, local_epochs=2) > 0.8


@contextmanager
def third_party(token: str | None = None, seed: int = 1) -> Iterator[tuple[third_party_agent.AgentServer, str]]:
    with serving(third_party_agent.make_server(token=token, seed=seed)) as server:
        yield server, f"http://127.0.0.1:{server.server_port}"


@asynccontextmanager
async def caller(token: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with asyncio.timeout(60), httpx2.AsyncClient(headers=headers, timeout=30) as http:
        yield http


async def ask(
    http: httpx2.AsyncClient, url: str, task: Task, parameters: Parameters
) -> tuple[Mapping[str, np.ndarray], TaskResult]:
    """Hand over, wait, read, delete: what the control plane does."""
    answer = await http.put(f"{url}/tasks/{task.id}", content=task_body(task, parameters))
    while answer.status_code == 202:
        answer = await http.get(f"{url}/tasks/{task.id}", params={"wait": 30})
    assert answer.status_code == 200, answer.text
    update, metadata = decode(answer.content)
    assert (await http.delete(f"{url}/tasks/{task.id}")).status_code == 204
    return update, read_result(metadata)


async def test_the_third_party_agent_keeps_the_protocol() -> None:
    with third_party() as (server, url):
        async with caller() as http:
            assert (await http.get(f"{url}/healthz")).status_code == 200
            model, _ = decode((await http.get(f"{url}/model")).content)
            assert {name: array.shape for name, array in model.items()} == {"weights": (8, 4), "bias": (4,)}

            task = make_task(local_epochs=2)
            path = f"{url}/tasks/{task.id}"
            body = task_body(task, model)
            assert (await http.get(path)).status_code == 404
            handed = await asyncio.gather(*(http.put(path, content=body) for _ in range(5)))
            assert {answer.status_code for answer in handed} <= {200, 202}
            results = [await http.get(path, params={"wait": 30}) for _ in range(3)]
            assert {result.status_code for result in results} == {200}
            assert len({result.content for result in results}) == 1
            assert server.trained == {task.id: 1}

            assert (await http.delete(path)).status_code == 204
            assert (await http.get(path)).status_code == 404
            await http.put(path, content=body)
            assert (await http.get(path, params={"wait": 30})).status_code == 200
            assert server.trained == {task.id: 2}


async def test_the_third_party_agent_refuses_what_it_cannot_train() -> None:
    with third_party() as (server, url):
        async with caller() as http:
            broken = [b"", b"\xff" * 20, task_body(make_task("a"), {"weights": np.zeros((2, 2), np.float32)})]
            for body in broken:
                assert (await http.put(f"{url}/tasks/a", content=body)).status_code == 422
            assert (await http.get(f"{url}/nothing")).status_code == 404

            model, _ = decode((await http.get(f"{url}/model")).content)
            await http.put(f"{url}/tasks/b", content=task_body(make_task("b", learning_rate="fast"), model))
            failed = await http.get(f"{url}/tasks/b", params={"wait": 30})
            assert failed.status_code == 500
            assert "fast" in failed.json()["detail"]
            assert server.trained == {"b": 1}


async def test_the_third_party_agent_wants_its_token() -> None:
    with third_party(token="secret") as (_, url):
        async with caller() as http:
            refused = await http.get(f"{url}/healthz")
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        async with caller("wrong") as http:
            assert (await http.put(f"{url}/tasks/a", content=b"")).status_code == 401
        async with caller("secret") as http:
            assert (await http.get(f"{url}/healthz")).status_code == 200


async def test_a_third_party_agent_and_sdk_agents_train_one_model() -> None:
    trainers = {f"sdk-{seed}": minimal_trainer.trainer(seed) for seed in range(2)}
    tokens = dict.fromkeys(trainers, "t")
    with third_party(token="t") as (_, other):
        async with hosting(trainers, server_url=None, tokens=tokens) as running, caller("t") as http:
            urls = [other, *(member.url or "" for member in running.members.values())]
            parameters: Parameters = decode((await http.get(f"{other}/model")).content)[0]

            async def everybody(number: int, kind: TaskKind) -> list[tuple[Mapping[str, np.ndarray], TaskResult]]:
                task = make_task(f"t.{number}.{kind}", kind)
                return await asyncio.gather(*(ask(http, url, task, parameters) for url in urls))

            before = [result.metrics["accuracy"] for _, result in await everybody(0, "evaluate")]
            for number in range(1, 9):
                updates = [update for update, _ in await everybody(number, "fit")]
                parameters = {name: np.mean([update[name] for update in updates], axis=0) for name in parameters}
            after = [result.metrics["accuracy"] for _, result in await everybody(9, "evaluate")]

    assert max(before) < 0.5
    assert min(after) > 0.85


def test_the_third_party_agent_needs_nothing_but_the_standard_library() -> None:
    """Isolated and without site-packages it starts, and prints where it listens."""
    script = ROOT / "examples" / "third_party_agent.py"
    with subprocess.Popen(  # noqa: S603  (our own program)
        [sys.executable, "-I", "-S", str(script), "--token", "t"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rpartition(" ")[2])
            answer = httpx2.get(
                f"http://127.0.0.1:{port}/healthz", headers={"Authorization": "Bearer t"}, trust_env=False
            )
            assert answer.status_code == 200
        finally:
            process.kill()
