"""What comes back from an agent: parameters whole, in pieces or compressed, and problems that say what was wrong."""

import re
from typing import Any

import numpy as np
import pytest

from tcsfeel.agent import Agent, BrokenResult, FitResult, Parameters
from tcsfeel.wire.codec import MEDIA_TYPE, decode
from tcsfeel.wire.digests import digest_of, written_digest
from tests.tcsfeel.agent.calling import BODY, TASK, client, problem
from tests.tcsfeel.agent.fakes import PARAMETERS, AddingTrainer, GatedTrainer, RaisingTrainer, make_task, task_body


async def test_a_result_is_compressed_for_who_asks_for_it() -> None:
    parameters: Parameters = {"w": np.zeros(300_000, np.float32)}  # more than is compressed at a time
    async with client(Agent(AddingTrainer())) as http:
        await http.put(TASK, content=task_body(make_task(), parameters))
        plain = await http.get(TASK, params={"wait": 60}, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        zstd = {"Accept-Encoding": "zstd"}
        for answer in (
            await http.get(TASK, headers=zstd),
            await http.put(TASK, content=BODY, headers=zstd),
            await http.get(TASK, headers=zstd),
        ):
            assert (answer.headers["content-type"], answer.headers["content-encoding"]) == (MEDIA_TYPE, "zstd")
            assert int(answer.headers["content-length"]) == answer.num_bytes_downloaded
            assert answer.num_bytes_downloaded < 10_000
            assert answer.content == plain.content  # which httpx2 has decompressed
        assert (await http.get("/tasks/t.2.c.fit", headers=zstd)).json()["status"] == 404


async def test_a_trainer_that_raises_is_a_500_with_the_last_lines_of_its_traceback() -> None:
    async with client(Agent(RaisingTrainer(OSError("only 3 of 10 labels")))) as http:
        await http.put(TASK, content=BODY)

        detail = problem(await http.get(TASK, params={"wait": 60}), 500)

        assert re.fullmatch(r"OSError: only 3 of 10 labels \(fakes\.py:\d+ in fit\)", detail)
        answer = await http.put(TASK, content=BODY)
        assert problem(answer, 500) == detail
        lines = answer.json()["traceback"].splitlines()
        assert re.fullmatch(r"  fakes\.py:\d+ in fit", lines[0])
        assert lines[1:] == ["    raise self._error", "OSError: only 3 of 10 labels"]
        assert "retry" not in answer.json(), "it may pass"
        model = problem(await http.get("/model"), 500)
        assert re.match(r"OSError: only 3 of 10 labels \(fakes\.py:\d+ in initial_parameters", model)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (TypeError("'NoneType' object is not iterable"), "TypeError: 'NoneType' object is not iterable"),
        (NameError("name 'tirch' is not defined"), "NameError: name 'tirch' is not defined"),
        (BrokenResult("fit must return a FitResult, not tuple"), "fit must return a FitResult, not tuple"),
    ],
)
async def test_a_mistake_in_a_trainer_is_told_from_a_failure_that_may_pass(error: Exception, detail: str) -> None:
    async with client(Agent(RaisingTrainer(error))) as http:
        await http.put(TASK, content=BODY)
        answer = await http.get(TASK, params={"wait": 60})
        assert answer.status_code == 500
        document = answer.json()
        told = document.pop("detail")
        assert told.startswith(detail)
        assert told.endswith(" in fit)") != isinstance(error, BrokenResult)
        assert (document.pop("traceback", None) is None) == isinstance(error, BrokenResult)
        assert document == {
            "type": "urn:tcsfeel:problem:broken-trainer",
            "title": "The trainer is broken",
            "status": 500,
            "retry": False,
        }


async def test_a_trainer_that_writes_into_its_parameters_is_told_so() -> None:
    def train(parameters: Any, _task: object) -> FitResult:
        parameters["w"] += 1
        return FitResult(parameters, 1, 0, 0)

    trainer = GatedTrainer(train)
    trainer.gate.set()
    async with client(Agent(trainer)) as http:
        await http.put(TASK, content=BODY)
        assert "read-only" in problem(await http.get(TASK, params={"wait": 60}), 500)


async def test_health_and_initial_parameters() -> None:
    async with client(Agent(AddingTrainer())) as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        model = await http.get("/model")

    assert model.headers["content-type"] == MEDIA_TYPE
    np.testing.assert_array_equal(decode(model.content)[0]["w"], PARAMETERS["w"])


async def test_a_large_result_goes_out_in_pieces_and_arrives_whole() -> None:
    large: Parameters = {"w": np.arange(300_001, dtype=np.float32), "b": np.ones(3, np.float64)}
    async with client(Agent(AddingTrainer())) as http:
        await http.put(TASK, content=task_body(make_task(), large))
        result = await http.get(TASK, params={"wait": 60}, headers={"Accept-Encoding": "identity"})

    assert int(result.headers["content-length"]) == len(result.content)
    parameters, _ = decode(result.content)
    np.testing.assert_array_equal(parameters["w"], large["w"] + 1)
    np.testing.assert_array_equal(parameters["b"], large["b"] + 1)


async def test_every_answer_with_parameters_names_the_bytes_of_its_body() -> None:
    large: Parameters = {"w": np.zeros(300_001, np.float32)}
    async with client(Agent(AddingTrainer())) as http:
        await http.put(TASK, content=task_body(make_task(), large))
        for path, coding in (("/healthz", "identity"), ("/model", "identity"), (TASK, "identity"), (TASK, "zstd")):
            async with http.stream("GET", path, params={"wait": 60}, headers={"Accept-Encoding": coding}) as answer:
                sent = b"".join([piece async for piece in answer.aiter_raw()])
            assert answer.headers.get("content-encoding", "identity") == coding
            assert answer.headers["content-digest"] == written_digest(digest_of([sent]))


async def test_a_task_that_was_corrupted_on_the_way_is_not_trained() -> None:
    agent = Agent(AddingTrainer())
    async with client(agent) as http:
        digest = {"Content-Digest": written_digest(digest_of([BODY]))}
        corrupted = BODY[:-1] + bytes([BODY[-1] ^ 1])
        answer = await http.put(TASK, content=corrupted, headers=digest)
        assert problem(answer, 400) == "the body does not fit its Content-Digest: it was corrupted on the way"
        assert answer.json()["retry"] is True
        assert agent.table.trained == {}
        assert (await http.put(TASK, content=BODY, headers=digest)).status_code in {200, 202}
        assert (await http.put(TASK, content=BODY, headers={"Content-Digest": "md5=:AA==:"})).status_code in {200, 202}
