"""Agents make themselves known, wait for a control plane that is late, and believe a refusal."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tcsfeel.agent import AgentError, Profile, RegistrationRefused
from tcsfeel.agent.insisting import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from tcsfeel.agent.labels import LabelReleases
from tcsfeel.agent.registration import Member, Registration
from tests.tcsfeel.agent.fakes import AddingTrainer, ControlPlane, RaisingTrainer

Handler = Callable[[httpx2.Request], httpx2.Response]


class FullTrainer(AddingTrainer):
    def profile(self) -> Profile:
        return Profile(
            data_size=np.int64(30),  # type: ignore[arg-type]  # what len() of numpy code often is
            data_distribution=np.array([10, 20]),
            compute_capacity=5,
            bandwidth=20.5,
            latency=3,
            reliability=0.5,
            server_cost=0.25,
            tags={"site": "north"},
            elastic=True,
        )


class LabelledTrainer(AddingTrainer):
    def profile(self) -> Profile:
        return Profile(data_size=3, data_distribution={"cat": np.float64(1), "dog": 2})


def member(client_id: str = "edge-7", trainer: AddingTrainer | None = None, token: str | None = None) -> Member:
    return Member(client_id, f"http://agents/{client_id}", token, trainer or FullTrainer())


def http_to(plane: ControlPlane | Handler) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(plane.app) if isinstance(plane, ControlPlane) else httpx2.MockTransport(plane)
    return httpx2.AsyncClient(transport=transport, base_url="http://plane", headers={"Authorization": "Bearer key"})


def registration_of(
    plane: ControlPlane | Handler, members: list[Member], pauses: list[float] | None = None
) -> Registration:
    async def sleep(seconds: float) -> None:
        if pauses is not None:
            pauses.append(seconds)

    return Registration(members, http_to(plane), heartbeat_seconds=10, sleep=sleep)


async def test_one_client_is_put_with_its_whole_profile_and_its_token() -> None:
    plane = ControlPlane()
    await registration_of(plane, [member(token="t")]).register()
    assert plane.calls == [("PUT", "/v1/clients/edge-7")]
    assert plane.keys == {"Bearer key"}
    assert plane.clients["edge-7"] == {
        "instance": plane.clients["edge-7"]["instance"],
        "url": "http://agents/edge-7",
        "auth_token": "t",
        "data_size": 30,
        "data_distribution": [10.0, 20.0],
        "compute_capacity": 5.0,
        "bandwidth": 20.5,
        "latency": 3.0,
        "reliability": 0.5,
        "server_cost": 0.25,
        "tags": {"site": "north"},
        "relay": False,
        "elastic": True,
    }


async def test_what_a_profile_leaves_out_is_not_sent() -> None:
    plane = ControlPlane()

    await registration_of(plane, [member(trainer=AddingTrainer())]).register()

    assert plane.clients["edge-7"] == {
        "instance": plane.clients["edge-7"]["instance"],
        "url": "http://agents/edge-7",
        "data_size": 2,
        "compute_capacity": 10.0,
        "bandwidth": 100.0, "latency": 10.0, "reliability": 0.9, "relay": False,
    }  # fmt: skip


async def test_label_counts_by_name_stay_by_name() -> None:
    plane = ControlPlane()

    await registration_of(plane, [member(trainer=LabelledTrainer())]).register()

    assert plane.clients["edge-7"]["data_distribution"] == {"cat": 1.0, "dog": 2.0}


async def test_private_label_counts_are_sent_with_the_same_noise_again_and_nothing_tells_of_it(tmp_path: Path) -> None:
    class PrivateTrainer(AddingTrainer):
        def profile(self) -> Profile:
            return Profile(data_size=600, data_distribution=[100, 200, 300], label_privacy=0.001)

    plane, here = ControlPlane(), member(trainer=PrivateTrainer())
    registration = Registration([here], http_to(plane), heartbeat_seconds=10, labels=LabelReleases(tmp_path))
    await registration.register()
    sent = plane.clients.pop("edge-7")
    assert sent["data_distribution"] != [100, 200, 300]
    assert "label_privacy" not in sent

    await registration.beat()  # which meets a control plane that has forgotten it
    assert plane.clients["edge-7"] == sent
    restarted = Registration([here], http_to(plane), heartbeat_seconds=10, labels=LabelReleases(tmp_path))
    await restarted.register()
    assert plane.clients["edge-7"] | {"instance": sent["instance"]} == sent


async def test_label_privacy_of_shares_is_an_error_that_names_the_client() -> None:
    class SharingTrainer(AddingTrainer):
        def profile(self) -> Profile:
            return Profile(data_size=10, data_distribution=[0.5, 0.5], label_privacy=1.0)

    with pytest.raises(AgentError, match=r"client edge-7 has no valid profile: .*needs label counts"):
        await registration_of(ControlPlane(), [member(trainer=SharingTrainer())]).register()


async def test_many_clients_are_registered_at_once() -> None:
    plane = ControlPlane()
    members = [member(f"c{number}") for number in range(2500)]

    await registration_of(plane, members).register()

    assert plane.calls == [("POST", "/v1/clients/batch")] * 3
    assert len(plane.clients) == 2500
    assert plane.clients["c7"]["url"] == "http://agents/c7"


async def test_clients_that_are_known_already_are_replaced() -> None:
    plane = ControlPlane()
    plane.clients = {"b": {"url": "http://old"}}

    await registration_of(plane, [member("a"), member("b")]).register()

    assert plane.calls[0] == ("POST", "/v1/clients/batch")
    assert sorted(plane.calls[1:]) == [("PUT", "/v1/clients/a"), ("PUT", "/v1/clients/b")]
    assert plane.clients["b"]["url"] == "http://agents/b"


async def test_a_control_plane_that_is_late_is_waited_for_with_growing_pauses() -> None:
    pauses: list[float] = []
    answers = itertools.chain([None] * 10, [503, 500, 429, 201])

    def late(request: httpx2.Request) -> httpx2.Response:
        answer = next(answers)
        if answer is None:
            raise httpx2.ConnectError("refused", request=request)
        return httpx2.Response(answer)

    await registration_of(late, [member()], pauses).register()

    assert len(pauses) == 13
    for attempt, pause in enumerate(pauses):
        longest = min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS)
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 302])
async def test_a_refusal_is_final_and_says_why_on_one_line(status: int) -> None:
    plane = ControlPlane()
    plane.answers = {("PUT", "/v1/clients/edge-7"): status}
    pauses: list[float] = []

    with pytest.raises(RegistrationRefused) as caught:
        await registration_of(plane, [member()], pauses).register()

    assert str(caught.value) == (
        f"the control plane refused the registration: {status} told to refuse; /url: is not allowed"
    )
    assert caught.value.status == status
    assert pauses == []


@pytest.mark.parametrize("path", ["/v1/clients/batch", "/v1/clients/b"])
async def test_a_refusal_of_one_of_many_is_the_same_error(path: str) -> None:
    plane = ControlPlane()
    plane.clients = {} if path.endswith("batch") else {"a": {}}
    plane.answers = {("POST" if path.endswith("batch") else "PUT", path): 422}

    with pytest.raises(RegistrationRefused, match="422"):
        await registration_of(plane, [member(name) for name in "abcdefghijklmnop"]).register()


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b'{"errors": null}'])
async def test_a_refusal_that_is_no_problem_document_still_has_a_reason(content: bytes) -> None:
    def refuse(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(403, content=content)

    with pytest.raises(RegistrationRefused, match="403 Forbidden"):
        await registration_of(refuse, [member()]).register()


async def test_a_trainer_without_a_profile_is_an_error_of_one_line() -> None:
    broken = member(trainer=RaisingTrainer(FileNotFoundError("no data here")))

    with pytest.raises(AgentError, match="client edge-7 has no valid profile: FileNotFoundError: no data here"):
        await registration_of(ControlPlane(), [broken]).register()


async def test_a_beat_reaches_every_client() -> None:
    plane = ControlPlane()
    members = [member(f"c{number}") for number in range(30)]
    registration = registration_of(plane, members)
    await registration.register()

    assert await registration.beat() == 30
    assert sorted(plane.beats) == sorted(member.client_id for member in members)


async def test_a_client_that_was_forgotten_registers_again() -> None:
    plane = ControlPlane()
    registration = registration_of(plane, [member("a"), member("b")])
    await registration.register()
    del plane.clients["b"]

    assert await registration.beat() == 2
    assert plane.clients["b"]["url"] == "http://agents/b"
    assert plane.beats == ["a"]
    assert await registration.beat() == 2
    assert sorted(plane.beats) == ["a", "a", "b"]


async def test_a_beat_that_fails_is_counted_logged_and_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    def flaky(request: httpx2.Request) -> httpx2.Response:
        if "/a/" in request.url.path:
            raise httpx2.ReadTimeout("too slow", request=request)
        return httpx2.Response(401 if "/b/" in request.url.path else 204)

    registration = registration_of(flaky, [member("a"), member("b"), member("c")])

    assert await registration.beat() == 1
    assert "2 of 3 heartbeats failed, e.g. the connection to http://plane failed: ReadTimeout: too slow" in caplog.text


async def test_the_loop_outlives_a_tick_that_breaks(caplog: pytest.LogCaptureFixture) -> None:
    ticks: list[float] = []

    async def sleep(seconds: float) -> None:
        ticks.append(seconds)
        if len(ticks) == 4:
            raise StopAsyncIteration

    def broken(_request: httpx2.Request) -> Any:
        raise ZeroDivisionError

    registration = Registration([member()], http_to(broken), heartbeat_seconds=7, sleep=sleep)
    with pytest.raises(StopAsyncIteration):
        await registration.run()

    assert ticks == [7, 7, 7, 7]
    assert caplog.text.count("a round of heartbeats failed") == 3


async def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    plane = ControlPlane()
    plane.answers = {("POST", "/v1/clients/edge-7/heartbeat"): 403}
    registration = registration_of(plane, [member(token="agent-secret")])

    await registration.register()
    await registration.beat()

    assert "edge-7" in caplog.text
    assert "agent-secret" not in caplog.text
    assert "Bearer" not in caplog.text


async def test_each_process_names_an_instance_of_its_own_with_every_sign_of_life() -> None:
    plane = ControlPlane()
    first, second = registration_of(plane, [member()]), registration_of(plane, [member()])
    named = []
    for registration in (first, second):
        await registration.register()
        named.append(plane.clients["edge-7"]["instance"])
        assert await registration.beat() == 1
    assert len({*named}) == 2
    assert plane.instances == named


async def test_a_refusal_names_each_field_once() -> None:
    said = {"detail": "/url should be a URL", "errors": [{"pointer": "/url", "detail": "should be a URL"}]}
    registration = registration_of(lambda _request: httpx2.Response(422, json=said), [member()])
    with pytest.raises(RegistrationRefused) as refused:
        await registration.register()
    assert str(refused.value).count("should be a URL") == 1
