"""The harness of hostile agents and callers is not blind: each fault of a server that it looks for is told."""

from typing import Any

import httpx2
import numpy as np
import pytest

from tcsfeel.wire.codec import encode
from tests.harnesses.fleet import Learner
from tests.harnesses.hostile.afterwards import unexplained
from tests.harnesses.hostile.judgement import of_devices
from tests.harnesses.hostile.judgement_of_callers import of_audit, of_callers, of_good_callers
from tests.harnesses.hostile.kinds import CALLERS, address_of
from tests.harnesses.hostile.outcome import Outcome, Period

BASE = {"w": np.linspace(-1, 1, 8, dtype=np.float32)}


def outcome(**fields: Any) -> Outcome:
    found = Outcome()
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def test_a_caller_that_gets_what_it_must_not_get_is_told() -> None:
    seen = {name: {"408": 1} for name in CALLERS} | {"expired-key": {"200": 2, "503 1": 1}, "deep-json": {"500": 1}}
    assert list(of_callers(outcome(seen=seen))) == [
        "deep-json got 500 1 times",
        "expired-key got 200 2 times instead of 401",
    ]


def test_a_refused_kind_without_a_record_of_its_address_is_told() -> None:
    seen = {"expired-key": {"401": 2}, "pipelined": {"200": 1}}
    record = {"address": address_of("expired-key"), "operation": "GET /v1/clients", "status": 401}
    assert list(of_audit(outcome(seen=seen, audit=[record]))) == []
    told = f"no audit record names expired-key, which called from {record['address']}"
    assert list(of_audit(outcome(seen=seen, audit=[record | {"address": "several"}]))) == [told]


def test_every_kind_has_an_address_of_its_own() -> None:
    assert len({address_of(name) for name in CALLERS}) == len(CALLERS)


def test_a_device_that_must_not_train_and_does_is_told() -> None:
    part = {"client_id": "s-revoked"}
    rounds = {"signed": [{"participations": [part], "evaluations": []}]}
    clients = [{"id": "s-revoked", "unproven": None, "status": "healthy"}]
    found = list(of_devices(outcome(rounds=rounds, clients=clients)))
    assert found[:2] == ["s-revoked got a task", "s-revoked is not named as one that must not train: None"]


@pytest.mark.parametrize(("attacked", "told"), [(0.021, 0), (0.030, 1)])
def test_good_calls_that_are_slow_in_an_attack_are_told(attacked: float, told: int) -> None:
    periods = [Period(hostile=False, start=0.0, end=100.0, processor=1.0, load=0.0)]
    periods += [Period(hostile=True, start=100.0, end=200.0, processor=1.0, load=0.0)]
    asked = [(float(at), 0.015 if at < 100 else attacked) for at in range(200)]
    assert len(list(of_good_callers(outcome(periods=periods, asked=asked)))) == told


@pytest.mark.parametrize(("foreign", "told"), [(0.0, []), (0.01, [3])])
async def test_a_model_with_anything_but_honest_updates_is_told(foreign: float, told: list[int]) -> None:
    updates = [Learner(number, seconds=0.0).fit(BASE, _task(3)) for number in range(2)]
    total = sum(update.num_examples for update in updates)
    mean = np.sum([update.num_examples * update.parameters["w"] for update in updates], axis=0) / total
    models = {"0": BASE, "3": {"w": (mean + foreign).astype(np.float32)}}

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=encode(models[request.url.params["round"]]))

    received = [{"client_id": f"h-honest-{number}", "status": "received"} for number in range(2)]
    rejected = [{"client_id": "h-nan", "status": "rejected"}]
    rounds = [{"number": 3, "status": "completed", "participations": [*received, *rejected]}]
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), base_url="http://plane") as api:
        found = await unexplained(api, "fit", "t", rounds)
    expected = [f"the model of round {number} of fit is not the mean of its honest updates" for number in told]
    assert found == expected


def _task(round_: int) -> Any:
    class Task:
        id = "t"
        round = round_

    return Task()
