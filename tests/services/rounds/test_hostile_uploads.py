"""Uploads that are not what was asked for: none counts, and none leaves a trace."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.domain.trainings import Uploads
from app.wire.codec import encode
from app.wire.tasks import UpdateEncoding as Encoding
from app.wire.tasks import result_metadata
from tests.planes import Adder, plane, policy
from tests.services.courses import parts
from tests.services.rounds.foreign import BOTH, CODES, HONEST, INT8, RESULT, SCALES, STEP, Foreign, encoded, join, zstd

WRONG_SCALES = json.dumps({"name": "int8", "scales": {"w": -0.5}})

HOSTILE: dict[str, tuple[Uploads, bytes, str | None, str, str]] = {
    "an encoding where none was offered": (Uploads(), HONEST, None, "rejected", "int8, which was not offered"),
    "another encoding than was offered": (
        INT8,
        encoded({"w": CODES["w"].astype(np.float16)}, Encoding(name="float16")),
        None,
        "rejected",
        "it is encoded as float16, which was not offered",
    ),
    "whole floats that claim to be codes": (
        INT8,
        encoded({"w": np.ones(3, np.float32)}, Encoding(name="int8", scales=SCALES)),
        None,
        "rejected",
        "tensor 'w' is float32[3], int8[3] is due in int8",
    ),
    "codes that claim to be whole": (
        INT8, encoded(CODES, Encoding(name="full")), None, "rejected", "is int8[3], the model's is float32[3]"
    ),
    "too few codes": (
        INT8,
        encoded({"w": CODES["w"][:2]}, Encoding(name="int8", scales=SCALES)),
        None,
        "rejected",
        "tensor 'w' is int8[2], int8[3] is due in int8",
    ),
    "no tensor": (INT8, encoded({}, Encoding(name="int8")), None, "rejected", "missing ['w'], unknown []"),
    "no scale": (INT8, encoded(CODES, Encoding(name="int8")), None, "rejected", "see ['w']"),
    "a negative scale": (
        INT8,
        encode(CODES, {**result_metadata(RESULT), "update_encoding": WRONG_SCALES}),
        None,
        "rejected",
        "update_encoding.scales.w: Input should be greater than or equal to 0",
    ),
    "a scale that leads beyond the floats": (
        INT8,
        encoded(CODES, Encoding(name="int8", scales={"w": 3e38})),
        None,
        "rejected",
        "tensor 'w' holds values that are not finite",
    ),
    "infinities in float16": (
        Uploads(encoding="float16"),
        encoded({"w": np.full(3, np.inf, np.float16)}, Encoding(name="float16")),
        None,
        "rejected",
        "tensor 'w' holds values that are not finite",
    ),
    "no result": (
        INT8,
        encode(CODES, {"update_encoding": Encoding(name="int8", scales=SCALES).model_dump_json()}),
        None,
        "rejected",
        "the metadata has no 'result'",
    ),
    "more examples than it can have": (
        INT8,
        encoded(CODES, Encoding(name="int8", scales=SCALES), RESULT.model_copy(update={"num_examples": 101})),
        None,
        "rejected",
        "num_examples is not plausible",
    ),
    "bytes behind the tensors": (INT8, HONEST + b"x", None, "rejected", "the tensors end at 3, the block at 4"),
    "nothing": (INT8, b"", None, "rejected", "0 bytes are too few for a header"),
    "zstd that was not asked for": (
        INT8, zstd(HONEST), "zstd", "failed", "answered with Content-Encoding 'zstd', which is not accepted"
    ),
    "zstd that does not say so": (BOTH, zstd(HONEST), None, "rejected", "the header claims"),
    "zstd that is none": (BOTH, HONEST, "zstd", "rejected", "its zstd body is broken: "),
    "zstd that is cut short": (BOTH, zstd(HONEST)[:-1], "zstd", "rejected", "its zstd body is cut short"),
    "zstd that goes on": (BOTH, zstd(HONEST) + b"x", "zstd", "rejected", "its zstd body goes on behind its frame"),
    "a bomb": (BOTH, zstd(HONEST + bytes(100_000_000)), "zstd", "rejected", "its zstd body holds more than "),
    "another coding": (
        BOTH, HONEST, "gzip", "failed", "answered with Content-Encoding 'gzip', which is not accepted"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_upload_leaves_no_trace(sqlite_url: str, tmp_path: Path, name: str) -> None:
    uploads, body, coding, status, reason = HOSTILE[name]
    headers = {} if coding is None else {"Content-Encoding": coding}
    async with plane(tmp_path, sqlite_url, {"good": Adder(STEP), "bad": Adder()}) as running:
        join(running, "bad", Foreign(lambda *_: (body, headers)))
        training_id = await running.create(uploads=uploads, round_policy=policy(quorum=0.5), evaluation_clients=0)
        value = await running.run_round(training_id)
        bad = parts(value)["bad"]
        assert (value.status, parts(value)["good"].status, bad.status) == ("completed", "received", status)
        assert reason in (bad.reason or "")
        assert bad.update is None
        assert await running.weight(training_id) == STEP
        assert (await running.system.clients.get("bad")).breaker.consecutive_failures >= 1


async def test_an_honest_upload_of_a_foreign_agent_counts(sqlite_url: str, tmp_path: Path) -> None:
    """The same bytes as the hostile ones, without what is wrong with them."""
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        join(running, "a", Foreign(lambda *_: (zstd(HONEST), {"Content-Encoding": "zstd"})))
        training_id = await running.create(uploads=BOTH, evaluation_clients=0)
        value = await running.run_round(training_id)
        assert parts(value)["a"].status == "received", parts(value)["a"].reason
        assert parts(value)["a"].bytes_received == len(zstd(HONEST))
        assert await running.weight(training_id) == STEP
