"""An agent relays: it passes its task on, and answers with the mean of its children's updates and its own.

Covers: sdk/tcsfeel/agent/granted.py
"""

import asyncio
import random
from collections.abc import AsyncIterator

import httpx2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcsfeel.agent import Parameters
from tcsfeel.aggregation import Updates
from tcsfeel.aggregation.blocks import Block
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import encode
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.grants import granted_by_key, granted_by_token
from tcsfeel.wire.relays import Missing
from tcsfeel.wire.tasks import TaskResult, result_metadata, task_metadata
from tests.tcsfeel.agent.fakes import eventually
from tests.tcsfeel.agent.relays import NOW, SERVER, TOKEN, Grove, StepTrainer

W = {"w": np.array([1.0, 2.0], np.float32)}


def by(value: float) -> Parameters:
    return {"w": np.array([value, value], np.float32)}


def answers(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> httpx2.MockTransport:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    described = {"Content-Length": str(len(body)), **(headers or {})}
    return httpx2.MockTransport(lambda _: httpx2.Response(status, content=stream(), headers=described))


async def test_a_relay_answers_with_the_mean_of_its_children_and_its_own() -> None:
    grove = Grove(W)
    grove.add("r", by(1.0), 10)
    grove.add("a", by(2.0), 30)
    grove.add("b", by(5.0), 60, key=True)
    mean, partial = await grove.relayed("r", [grove.child("a", "r"), grove.child("b", "r")])
    # (10 * 1 + 30 * 2 + 60 * 5) / 100 = 3.7
    np.testing.assert_allclose(mean.parameters()["w"], [4.7, 5.7], rtol=1e-6)
    assert [(one.client_id, one.result.num_examples) for one in partial.members] == [("a", 30), ("b", 60), ("r", 10)]
    assert partial.num_examples == 100
    assert partial.missing == ()
    assert [bool(one.signature) for one in partial.members] == [False, True, False]
    assert [one.seconds > 0 for one in partial.members] == [True, True, False]


async def test_a_child_trains_once_and_keeps_its_result_for_the_control_plane() -> None:
    grove = Grove(W)
    grove.add("r", by(1.0), 10)
    child = grove.add("a", by(2.0), 30)
    await grove.relayed("r", [grove.child("a", "r")])
    entry = child.table.find("t.1.a.fit")
    assert entry is not None
    assert entry.state == "done"
    assert child.table.trained["t.1.a.fit"] == 1
    assert {call.method for call in grove.network.calls} <= {"PUT", "GET"}


async def test_a_trainer_sees_nothing_of_the_children_of_its_relay() -> None:
    grove = Grove(W)
    trainer = grove.add("r", by(1.0), 10).trainer
    assert isinstance(trainer, StepTrainer)
    grove.add("a", by(2.0), 30)
    child = grove.child("a", "r")
    await grove.relayed("r", [child])
    (seen,) = trainer.tasks
    assert (seen.id, child.grant in repr(seen), "http://a" in repr(seen)) == ("t.1.r.fit", False, False)


HUGE = {"w": np.array([1e14, 1e14], np.float32)}
BAD = {"w": np.array([np.nan, 1.0], np.float32)}


def result(num_examples: int = 5) -> dict[str, str]:
    return dict(result_metadata(TaskResult(num_examples=num_examples, loss=0.1)))


def _gone(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("nobody is there", request=request)


WRONG: dict[str, tuple[httpx2.MockTransport, str]] = {
    "not a number": (answers(200, encode(BAD, result())), "tensor 'w' holds values that are not finite"),
    "other tensors": (answers(200, encode({"v": W["w"]}, result())), "its tensors are not the model's"),
    "another shape": (answers(200, encode({"w": np.zeros(3, np.float32)}, result())), "tensor 'w' is float32[3]"),
    "too many examples": (answers(200, encode(W, result(1501))), "num_examples is not plausible: 1501"),
    "far too long": (answers(200, encode(HUGE, result())), "its update is far larger than its relay's"),
    "no result": (answers(200, encode(W)), "the metadata has no 'result'"),
    "not a file": (answers(200, b"x" * 100), "the header claims"),
    "too large": (answers(200, b"x" * 200_000), "its result has 200000 bytes, at most"),
    "compressed": (answers(200, b"x", {"Content-Encoding": "br"}), "has the Content-Encoding 'br'"),
    "another digest": (
        answers(200, encode(W, result()), {CONTENT_DIGEST: written_digest(digest_of([b"else"]))}),
        "it does not fit its Content-Digest",
    ),
    "a failure": (answers(500, b'{"detail": "no\\nmemory"}'), "it answered 500: no memory"),
    "a redirect": (answers(302, b"", {"Location": "http://r/"}), "it answered 302"),
    "unknown": (answers(404), "it answered 404"),
    "nobody": (httpx2.MockTransport(_gone), "it could not be called (ConnectError)"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_child_that_answers_wrongly_is_left_out_with_the_reason(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tcsfeel.agent.children.FIRST_PAUSE_SECONDS", 0.0)
    grove = Grove(W)
    grove.add("r", by(1.0), 10)
    grove.add("good", by(3.0), 10)
    grove.add("bad", by(3.0), 10)
    grove.network.apps["bad"], reason = WRONG[wrong]
    mean, partial = await grove.relayed("r", [grove.child("bad", "r"), grove.child("good", "r")])
    np.testing.assert_allclose(mean.parameters()["w"], [3.0, 4.0], rtol=1e-6)
    assert [one.client_id for one in partial.members] == ["good", "r"]
    (missing,) = partial.missing
    assert missing.client_id == "bad"
    assert reason in missing.reason


async def test_a_child_whose_device_did_not_sign_is_left_out() -> None:
    grove = Grove(W)
    grove.add("r", by(1.0), 10)
    grove.add("a", by(3.0), 10, key=True)
    other = Identity(b"x" * 32).public_key
    _, partial = await grove.relayed("r", [grove.child("a", "r", public_key=other)])
    assert "its device has not signed its result" in partial.missing[0].reason


async def test_a_child_that_is_late_is_left_out() -> None:
    grove = Grove(W)
    grove.add("r", by(1.0), 10)
    grove.add("a", by(3.0), 10)
    grove.network.apps["a"] = answers(202)
    mean, partial = await grove.relayed("r", [grove.child("a", "r", deadline_seconds=0.05)])
    np.testing.assert_array_equal(mean.parameters()["w"], [2.0, 3.0])
    assert partial.missing == (Missing(client_id="a", reason="it had no result within 0.05 s"),)


async def test_an_agent_that_does_not_relay_answers_with_its_own_update() -> None:
    grove = Grove(W)
    agent = grove.add("r", by(1.0), 10, relays=False)
    grove.add("a", by(3.0), 10)
    with pytest.raises(AssertionError):  # there is nothing of children in it
        await grove.relayed("r", [grove.child("a", "r")])
    assert agent.table.trained["t.1.r.fit"] == 1
    assert grove.network.calls == []


async def test_a_task_that_is_no_longer_wanted_waits_for_no_child() -> None:
    grove = Grove(W)
    agent = grove.add("r", by(1.0), 10)
    grove.add("a", by(3.0), 10)
    grove.network.apps["a"] = answers(202)
    running = asyncio.create_task(grove.relayed("r", [grove.child("a", "r")]))
    await eventually(lambda: agent.table.trained["t.1.r.fit"])
    agent.table.delete("t.1.r.fit")
    with pytest.raises(AssertionError):
        await running
    await eventually(lambda: not len(agent.table))


@pytest.mark.parametrize("key", [False, True])
@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 200),
        ({"task": "t.1.b.fit"}, 403),
        ({"digest": b"0" * 32}, 403),
        ({"now": NOW - 1000}, 403),
        ({"body": b"another"}, 400),
        ({"method": "DELETE"}, 403),
        ({"path": "/healthz"}, 403),
        ({"by": "another"}, 403),
        ({"relays": False}, 403),
    ],
)
async def test_a_grant_allows_one_task_with_one_body_and_nothing_else(
    changed: dict[str, object], status: int, *, key: bool
) -> None:
    grove = Grove(W)
    grove.add("a", by(3.0), 10, key=key, relays=bool(changed.get("relays", True)))
    body = b"".join(grove.model.payload(task_metadata(grove.task("a"))))
    digest = changed.get("digest", digest_of([body]))
    assert isinstance(digest, bytes)
    expires = int(float(str(changed.get("now", NOW)))) + 30
    task = str(changed.get("task", "t.1.a.fit"))
    by_whom = Identity(b"y" * 32) if "by" in changed else SERVER
    token = "another" if "by" in changed else TOKEN
    grant = granted_by_key(by_whom, task, digest, expires) if key else granted_by_token(token, task, digest, expires)
    sent = bytes(str(changed["body"]), "ascii") if "body" in changed else body
    async with httpx2.AsyncClient(transport=grove.network, base_url="http://a") as http:
        answer = await http.request(
            str(changed.get("method", "PUT")),
            str(changed.get("path", "/tasks/t.1.a.fit")),
            content=sent,
            headers={
                "Authorization": f"Bearer {grant}",
                CONTENT_DIGEST: written_digest(digest_of([body])),
            },
        )
    assert answer.status_code == status, answer.text
    assert ("Signature" in answer.headers) == (key and status == 200)


async def test_a_signature_of_one_kind_is_no_grant_of_the_other() -> None:
    """An agent with a key takes no HMAC, even of its own token."""
    grove = Grove(W)
    grove.add("a", by(3.0), 10, key=True)
    body = b"".join(grove.model.payload(task_metadata(grove.task("a"))))
    grant = granted_by_token(TOKEN, "t.1.a.fit", digest_of([body]), int(NOW) + 30)
    async with httpx2.AsyncClient(transport=grove.network, base_url="http://a") as http:
        answer = await http.get("/tasks/t.1.a.fit", headers={"Authorization": f"Bearer {grant}"})
    assert answer.status_code == 403


DTYPES: list[npt.DTypeLike] = [np.float32, np.float64, np.float16, np.int64]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_mean_over_a_random_tree_is_that_of_the_star(seed: int) -> None:
    """Random groups, children that fail and are asked directly, and tensors of several dtypes."""
    draw, rng = random.Random(seed), np.random.default_rng(seed)  # noqa: S311  (draws trees)
    model: Parameters = {
        f"t{place}": (rng.normal(size=(3, 5)) * 10).astype(draw.choice(DTYPES)) for place in range(draw.randint(1, 3))
    }
    clients = [f"c{number:02}" for number in range(draw.randint(1, 12))]
    examples = {one: draw.randint(1, 900) for one in clients}
    steps = {
        one: {name: (rng.normal(size=array.shape) * 3).astype(array.dtype) for name, array in model.items()}
        for one in clients
    }
    relays = [one for one in clients if draw.random() < 0.4]
    parents = {
        one: draw.choice(relays) if relays and one not in relays and draw.random() < 0.8 else None for one in clients
    }
    broken = {one for one in clients if parents[one] is not None and draw.random() < 0.2}

    async def run() -> tuple[list[Parameters], list[float]]:
        grove = Grove(model)
        for one in clients:
            grove.add(one, steps[one], examples[one])
        grove.network.gone = broken
        units, weights, inside = list[Parameters](), list[float](), set[str]()
        for relay in relays:
            children = [grove.child(one, relay) for one in clients if parents[one] == relay]
            if children:
                mean, partial = await grove.relayed(relay, children)
                units.append(mean.parameters())
                weights.append(float(partial.num_examples))
                inside |= {one.client_id for one in partial.members}
        for one in clients:
            if one not in inside:
                units.append({name: (array + steps[one][name]).astype(array.dtype) for name, array in model.items()})
                weights.append(float(examples[one]))
        return units, weights

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tcsfeel.agent.children.FIRST_PAUSE_SECONDS", 0.0)
        units, weights = asyncio.run(run())
    star = [{name: (array + steps[one][name]).astype(array.dtype) for name, array in model.items()} for one in clients]
    for name, array in model.items():
        every = slice(0, array.size)
        relayed: Block = Updates(model, units).mean(weights, name, every)
        direct = Updates(model, star).mean([float(examples[one]) for one in clients], name, every)
        np.testing.assert_allclose(relayed, direct, rtol=3e-6, atol=3e-6)
