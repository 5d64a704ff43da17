"""An agent that pulls: what it asks, what it does with a task, and how it delivers."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tcsfeel.agent.signing import Signing
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import MEDIA_TYPE, decode
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.signatures import (
    ACCEPT_SIGNATURE,
    check_answer,
    read_wanted,
    result_components,
    sign_answer,
    task_components,
)
from tcsfeel.wire.tasks import Task, read_result
from tests.tcsfeel.agent.fakes import GatedTrainer, RaisingTrainer, eventually
from tests.tcsfeel.agent.planes import TASK, Answer, Plane, given, pulling

DEVICE, SERVER = Identity(b"d" * 32), Identity(b"s" * 32)


async def test_a_task_is_trained_and_its_result_delivered() -> None:
    plane = Plane(given())
    puller, _ = pulling(plane)
    assert await puller.step() == 0.0
    await eventually(lambda: plane.results)
    (sent,) = plane.results
    assert sent.url.path == f"/fl/v1/clients/c/tasks/{TASK.id}/result"
    assert (sent.headers["Content-Type"], sent.headers["Content-Length"]) == (MEDIA_TYPE, str(len(sent.content)))
    assert sent.headers[CONTENT_DIGEST] == written_digest(digest_of([sent.content]))
    tensors, metadata = decode(sent.content)
    assert (tensors["w"].tolist(), read_result(metadata).num_examples) == ([2.0, 3.0], 2)
    await asyncio.sleep(0.01)
    assert await puller.step() == 7.0
    assert plane.known == [[], []]


async def test_a_running_task_is_named_and_not_begun_again() -> None:
    trainer = GatedTrainer()
    plane = Plane(given(), given())
    puller, _ = pulling(plane, trainer)
    await puller.step()
    await asyncio.to_thread(trainer.started.wait, 20)
    await puller.step()
    trainer.gate.set()
    await eventually(lambda: plane.results)
    assert plane.known == [[], [TASK.id]]
    assert trainer.order == [TASK.id]


async def test_a_task_that_is_no_longer_wanted_is_stopped_and_not_delivered() -> None:
    trainer = GatedTrainer()
    plane = Plane(given(), (204, b"", {"Retry-After": "0", "Tcsfeel-Unwanted": f"{TASK.id}, t.0.c.fit"}))
    puller, _ = pulling(plane, trainer)
    await puller.step()
    await asyncio.to_thread(trainer.started.wait, 20)
    await puller.step()
    trainer.gate.set()
    await puller.step()
    assert plane.known[-1] == []
    assert plane.results == []


async def test_a_failure_is_delivered_with_its_reason() -> None:
    plane = Plane(given())
    puller, _ = pulling(plane, RaisingTrainer(ValueError("no data")))
    await puller.step()
    await eventually(lambda: plane.results)
    (sent,) = plane.results
    document = httpx2.Response(200, content=sent.content).json()
    assert sent.headers["Content-Type"] == "application/problem+json"
    assert (document["status"], "no data" in document["detail"]) == (500, True)


async def test_a_task_that_cannot_be_read_is_refused() -> None:
    plane = Plane((200, b"x" * 20, {"Tcsfeel-Task": TASK.id}))
    puller, _ = pulling(plane)
    await puller.step()
    await eventually(lambda: plane.results)
    assert httpx2.Response(200, content=plane.results[0].content).json()["status"] == 422


async def test_initial_parameters_are_delivered_without_a_result() -> None:
    task = Task(id="t.1.c.model", kind="model", training_id="t", round=1, deadline_seconds=60.0, local_tensors=("v*",))
    plane = Plane(given(task))
    puller, _ = pulling(plane)
    await puller.step()
    await eventually(lambda: plane.results)
    tensors, metadata = decode(plane.results[0].content)
    assert (tensors["w"].tolist(), metadata) == ([1.0, 2.0], {"unmatched_local": '["v*"]'})


async def test_a_delivery_is_repeated_until_there_is_a_final_answer() -> None:
    plane = Plane(given(), deliveries=(503, 400, 204))
    puller, _ = pulling(plane)
    await puller.step()
    await eventually(lambda: len(plane.results) == 3)
    assert len({sent.content for sent in plane.results}) == 1


async def test_a_delivery_is_repeated_after_the_time_that_the_server_names() -> None:
    plane = Plane(given(), deliveries=(503, 204), later="17")
    puller, pauses = pulling(plane)
    await puller.step()
    await eventually(lambda: len(plane.results) == 2)
    assert pauses == [17.0]


@pytest.mark.parametrize("status", [404, 409, 410, 403])
async def test_a_refused_result_is_forgotten(status: int) -> None:
    plane = Plane(given(), deliveries=(status,))
    puller, _ = pulling(plane)
    await puller.step()
    await eventually(lambda: plane.results)
    await asyncio.sleep(0.01)
    await puller.step()
    assert plane.known[-1] == []
    assert len(plane.results) == 1


@pytest.mark.parametrize("status", [413, 415, 422])
async def test_a_result_that_cannot_be_taken_is_a_failure_that_would_come_again(status: int) -> None:
    plane = Plane(given(), deliveries=(status, status))
    puller, _ = pulling(plane)
    await puller.step()
    await eventually(lambda: len(plane.results) == 2)
    failure = plane.results[1]
    document = httpx2.Response(200, content=failure.content).json()
    assert failure.headers["Content-Type"] == "application/problem+json"
    assert (document["status"], document["retry"]) == (500, False)
    assert document["detail"] == f"the control plane did not take the result: {status} said so"
    await asyncio.sleep(0.01)
    await puller.step()
    assert len(plane.results) == 2


async def test_a_task_that_comes_again_is_named_although_its_first_work_ends_later() -> None:
    plane = Plane(given(), (204, b"", {"Tcsfeel-Unwanted": TASK.id}), given())
    delivering: list[asyncio.Event] = []

    async def hold(request: httpx2.Request) -> httpx2.Response:
        answer = plane(request)
        if request.method == "PUT":
            delivering.append(asyncio.Event())
            try:
                await delivering[-1].wait()
            except asyncio.CancelledError:
                await delivering[0].wait()  # closing the connection takes a while
                raise
        return answer

    puller, _ = pulling(hold)
    await puller.step()
    await eventually(lambda: len(delivering) == 1)
    await puller.step()
    await puller.step()
    await eventually(lambda: len(delivering) == 2)
    delivering[0].set()
    await asyncio.sleep(0.01)
    await puller.step()
    assert plane.known == [[], [TASK.id], [], [TASK.id]]
    delivering[1].set()
    await asyncio.sleep(0.01)
    await puller.step()
    assert plane.known[-1] == []


async def test_a_result_is_compressed_if_the_control_plane_asks_for_that() -> None:
    plane = Plane(given(Accept_Encoding="zstd"))
    puller, _ = pulling(plane)
    await puller.step()
    await eventually(lambda: plane.results)
    assert plane.results[0].headers["Content-Encoding"] == "zstd"


async def test_an_agent_without_an_answer_comes_back_after_growing_pauses() -> None:
    plane = Plane(
        *[(502, b"", {})] * 3, (503, b"", {"Retry-After": "40"}), (200, b"", {CONTENT_DIGEST: "sha-256=:AA==:"})
    )
    puller, _ = pulling(plane)
    pauses = [await puller.step() for _ in range(4)]
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses[:3]))
    assert pauses[3] == 40.0


async def test_a_client_that_was_forgotten_registers_again() -> None:
    renewed: list[str] = []
    puller, _ = pulling(Plane((404, b"", {})), renewed=renewed)
    assert await puller.step() == 0.0
    assert renewed == ["again"]


async def test_a_client_that_stays_unknown_registers_again_after_growing_pauses() -> None:
    renewed: list[str] = []
    puller, _ = pulling(Plane(*[(404, b"", {})] * 4), renewed=renewed)
    first, *pauses = [await puller.step() for _ in range(4)]
    assert first == 0.0
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses, 1))
    assert renewed == ["again"] * 4


async def test_the_loop_asks_until_it_is_cancelled_and_stops_its_work() -> None:
    trainer = GatedTrainer()
    plane = Plane(given())
    puller, pauses = pulling(plane, trainer)
    running = asyncio.create_task(puller.run())
    await eventually(lambda: len(pauses) > 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    trainer.gate.set()
    assert set(pauses) == {0.0, 7.0}
    assert plane.results == []


def signed(by: Identity, *, nonce: str | None = None) -> Callable[[httpx2.Request, Answer], Answer]:
    """Sign tasks as a control plane with this identity."""

    def sign(request: httpx2.Request, answer: Answer) -> Answer:
        asked = read_wanted(request.headers[ACCEPT_SIGNATURE])
        assert asked is not None
        key, asked_nonce = asked
        assert key == SERVER.public_key
        components = task_components(answer[2][CONTENT_DIGEST], DEVICE.public_key)
        _, headers = sign_answer(by, components, now=1.0, nonce=asked_nonce if nonce is None else nonce)
        return answer[0], answer[1], answer[2] | headers

    return sign


async def test_a_device_with_a_key_takes_signed_tasks_and_signs_its_results() -> None:
    plane = Plane(given())
    plane.sign = signed(SERVER)
    puller, _ = pulling(plane, signing=Signing(DEVICE, SERVER.public_key))
    await puller.step()
    await eventually(lambda: plane.results)
    (sent,) = plane.results
    components = result_components(f"/v1/clients/c/tasks/{TASK.id}/result", sent.headers[CONTENT_DIGEST])
    check_answer(sent.headers, components, key=DEVICE.public_key)


@pytest.mark.parametrize("sign", [signed(DEVICE), signed(SERVER, nonce="old"), lambda _, answer: answer])
async def test_a_task_that_its_control_plane_has_not_signed_is_not_trained(sign: Any) -> None:
    plane, trainer = Plane(given()), GatedTrainer()
    plane.sign = sign
    puller, _ = pulling(plane, trainer, signing=Signing(DEVICE, SERVER.public_key))
    assert await puller.step() > 0.0
    assert (await puller.step(), plane.known) == (7.0, [[], []])
    assert (trainer.order, plane.results) == ([], [])
