"""Trainers that wait for the test, and a control plane that notes what it is told."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tcsfeel.agent import EvaluateResult, FitResult, Parameters, Profile, Task
from tcsfeel.wire.codec import encode
from tcsfeel.wire.tasks import Scalar, TaskKind, task_metadata

PARAMETERS: Parameters = {"w": np.array([1.0, 2.0], np.float32)}


class AddingTrainer:
    """Adds one to every parameter; two examples, loss 0.5, accuracy 0.75."""

    def initial_parameters(self) -> Parameters:
        return PARAMETERS

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        del task
        return FitResult({name: array + 1 for name, array in parameters.items()}, 2, 0.5, 0.75)

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        del parameters, task
        return EvaluateResult(2, 0.5, 0.75)

    def profile(self) -> Profile:
        return Profile(data_size=2)


class GatedTrainer(AddingTrainer):
    """Does in `fit` what the test says, once the gate is open; tells when it has started."""

    def __init__(self, then: Callable[[Parameters, Task], FitResult] | None = None) -> None:
        self.gate = threading.Event()
        self.started = threading.Event()
        self.order: list[str] = []
        self._then = then

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self.order.append(task.id)
        self.started.set()
        assert self.gate.wait(20)
        return self._then(parameters, task) if self._then else super().fit(parameters, task)


class RaisingTrainer(AddingTrainer):
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def initial_parameters(self) -> Parameters:
        raise self._error

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        del parameters, task
        raise self._error

    def evaluate(self, parameters: Parameters, task: Task) -> EvaluateResult:
        del parameters, task
        raise self._error

    def profile(self) -> Profile:
        raise self._error


def make_task(
    task_id: str = "t.1.c.fit",
    kind: TaskKind = "fit",
    deadline_seconds: float = 600,
    update_encoding: str = "full",
    **hyperparameters: Scalar,
) -> Task:
    return Task(
        id=task_id,
        kind=kind,
        training_id=task_id.partition(".")[0],
        round=1,
        deadline_seconds=deadline_seconds,
        update_encoding=update_encoding,
        hyperparameters=hyperparameters,
    )


def task_body(task: Task, parameters: Parameters = PARAMETERS) -> bytes:
    return encode(parameters, task_metadata(task))


async def eventually(condition: Callable[[], object]) -> None:
    """Let the loop and the threads go on until it holds; the limit only ends a test that would hang."""
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110  (conditions of threads, which set no asyncio.Event)
            await asyncio.sleep(0.001)


class ControlPlane:
    """An ASGI app with the registration part of the API. `answers` overrides the status for a method and path."""

    def __init__(self) -> None:
        self.clients: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.keys: set[str | None] = set()
        self.beats: list[str] = []
        self.instances: list[str] = []  # that heartbeats named
        self.answers: dict[tuple[str, str], int] = {}
        self.app = Starlette(
            routes=[
                Route("/v1/clients/batch", self._batch, methods=["POST"]),
                Route("/v1/clients/{id}", self._put, methods=["PUT"]),
                Route("/v1/clients/{id}/heartbeat", self._heartbeat, methods=["POST"]),
            ]
        )

    async def _batch(self, request: Request) -> Response:
        refusal = self._note(request)
        entries = {entry.pop("id"): entry for entry in (await request.json())["clients"]}
        if refusal:
            return refusal
        if self.clients.keys() & entries.keys():
            return self._problem(409)
        self.clients.update(entries)
        return JSONResponse({}, 201)

    async def _put(self, request: Request) -> Response:
        refusal = self._note(request)
        if refusal:
            return refusal
        self.clients[request.path_params["id"]] = await request.json()
        return JSONResponse({}, 201)

    async def _heartbeat(self, request: Request) -> Response:
        refusal = self._note(request)
        if refusal:
            return refusal
        if request.path_params["id"] not in self.clients:
            return self._problem(404)
        self.beats.append(request.path_params["id"])
        self.instances.append((await request.json())["instance"])
        return Response(status_code=204)

    def _note(self, request: Request) -> Response | None:
        self.calls.append((request.method, request.url.path))
        self.keys.add(request.headers.get("authorization"))
        status = self.answers.get(self.calls[-1])
        return self._problem(status) if status else None

    def _problem(self, status: int) -> Response:
        errors = [{"pointer": "/url", "detail": "is not allowed"}]
        body = {"status": status, "detail": "told to refuse", "errors": errors}
        return JSONResponse(body, status, media_type="application/problem+json")
