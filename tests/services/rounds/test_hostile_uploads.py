"""Uploads that are not what was asked for: none counts, and none leaves a trace."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.domain.trainings import Uploads
from tcsfeel.wire.codec import encode
from tcsfeel.wire.sizes import ROOM
from tcsfeel.wire.tasks import UpdateEncoding as Encoding
from tcsfeel.wire.tasks import result_metadata
from tests.planes import Adder, plane, policy, until
from tests.services.courses import parts, statuses
from tests.services.rounds.foreign import BOTH, CODES, HONEST, INT8, RESULT, SCALES, STEP, Foreign, encoded, join, zstd

pytestmark = pytest.mark.untraced

WHOLE = encode({"w": np.full(3, STEP, np.float32)}, result_metadata(RESULT))
LARGE = encode({}, {"nested": "[]," * 500_000})
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
        "tensor 'w' is float32[3], but int8 needs int8[3]",
    ),
    "codes that claim to be whole": (
        INT8, encoded(CODES, Encoding(name="full")), None, "rejected", "is int8[3], the model's is float32[3]"
    ),
    "too few codes": (
        INT8,
        encoded({"w": CODES["w"][:2]}, Encoding(name="int8", scales=SCALES)),
        None,
        "rejected",
        "tensor 'w' is int8[2], but int8 needs int8[3]",
    ),
    "no tensor": (INT8, encoded({}, Encoding(name="int8")), None, "rejected", "missing ['w'], unknown []"),
    "no scale": (INT8, encoded(CODES, Encoding(name="int8")), None, "rejected", "see ['w']"),
    "a negative scale": (
        INT8,
        encode(CODES, {**result_metadata(RESULT), "update_encoding": WRONG_SCALES}),
        None,
        "rejected",
        "update_encoding.scales.w should be greater than or equal to 0",
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
        encode(CODES, {"update_encoding": Encoding(name="int8", scales=SCALES).to_json()}),
        None,
        "rejected",
        "the metadata has no 'result'",
    ),
    "more examples than it can have": (
        INT8,
        encoded(CODES, Encoding(name="int8", scales=SCALES), replace(RESULT, num_examples=16)),
        None,
        "rejected",
        "num_examples is not plausible",
    ),
    "bytes behind the tensors": (INT8, HONEST + b"x", None, "rejected", "the tensors end at 3, the block at 4"),
    "nothing": (INT8, b"", None, "rejected", "0 bytes are too few for a header"),
    "zstd that was not asked for": (
        INT8, zstd(HONEST), "zstd", "failed", "the agent answered with Content-Encoding 'zstd', which is not accepted"
    ),
    "zstd that does not say so": (BOTH, zstd(HONEST), None, "rejected", "the header claims"),
    "zstd that is none": (BOTH, HONEST, "zstd", "rejected", "its zstd body is broken: "),
    "zstd that is cut short": (BOTH, zstd(HONEST)[:-1], "zstd", "rejected", "its zstd body is cut short"),
    "zstd that goes on": (BOTH, zstd(HONEST) + b"x", "zstd", "rejected", "its zstd body has bytes after its frame"),
    "a bomb": (BOTH, zstd(HONEST + bytes(100_000_000)), "zstd", "rejected", "its zstd body holds more than "),
    "a header of megabytes": (Uploads(), LARGE, None, "failed", "the agent sent a body of more than "),
    "a header of megabytes in zstd": (BOTH, zstd(LARGE), "zstd", "rejected", "its zstd body holds more than "),
    "a name of megabytes": (
        BOTH, zstd(encode({"w" * 60_000: np.zeros(3, np.float32)}, {})), "zstd", "rejected", "of at most 256 characters"
    ),
    "another coding": (
        BOTH, HONEST, "gzip", "failed", "the agent answered with Content-Encoding 'gzip', which is not accepted"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_upload_leaves_no_trace(sqlite_url: str, tmp_path: Path, name: str) -> None:
    uploads, body, coding, status, reason = HOSTILE[name]
    headers = {} if coding is None else {"Content-Encoding": coding}
    async with plane(tmp_path, sqlite_url, {"good": Adder(STEP), "bad": Adder()}) as running:
        join(running, "bad", Foreign(lambda *_: (body, headers)))
        training_id = await running.create(uploads=uploads, round_policy=policy(quorum=0.5), evaluation_clients=0)
        round_ = await running.run_round(training_id)
        bad = parts(round_)["bad"]
        assert (round_.status, parts(round_)["good"].status, bad.status) == ("completed", "received", status)
        assert reason in (bad.reason or "")
        assert bad.update is None
        assert len(bad.reason or "") <= 300
        assert (bad.reason or "").isprintable()
        assert await running.weight(training_id) == STEP
        assert (await running.system.clients.get("bad")).breaker.consecutive_failures >= 1


class Looking(Adder):
    """Looks, once another's update was refused, at what lies in the spool."""

    def __init__(self, directory: Path) -> None:
        super().__init__(STEP)
        self._directory = directory

    def lying(self) -> int:
        """Bytes of the files in the spool."""
        return sum(path.stat().st_size for path in self._directory.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("uploads", "body", "headers"),
    [
        (Uploads(), encoded({"w": np.full(3, np.nan, np.float32)}, Encoding(name="full")), {}),
        (BOTH, zstd(HONEST + b"x"), {"Content-Encoding": "zstd"}),
        (BOTH, zstd(HONEST)[:-1], {"Content-Encoding": "zstd"}),
        (INT8, encoded(CODES, Encoding(name="int8", scales={"w": 3e38})), {}),
    ],
    ids=["in full", "zstd", "cut", "expanded"],
)
async def test_a_refused_upload_is_removed_at_once(
    sqlite_url: str, tmp_path: Path, uploads: Uploads, body: bytes, headers: dict[str, str]
) -> None:
    good = Looking(tmp_path / "spool")
    good.open.clear()
    async with plane(tmp_path, sqlite_url, {"good": good, "bad": Adder()}) as running:
        join(running, "bad", Foreign(lambda *_: (body, headers)))
        training_id = await running.create(uploads=uploads, round_policy=policy(quorum=0.5), evaluation_clients=0)
        number = await running.system.trainings.run_round(training_id)

        async def is_refused() -> bool:
            await running.drive()
            return statuses(await running.round(training_id, number)).get("bad") == "rejected"

        await until(is_refused)
        assert good.lying() == 0
        good.open.set()
        assert (await running.ended(training_id, number)).status == "completed"


async def test_a_refused_upload_does_not_take_the_same_bytes_from_another_client(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Two clients send the same file, which is plausible for only one of them."""
    async with plane(tmp_path, sqlite_url, {"large": Adder(examples=1000), "small": Adder()}) as running:
        update = encode({"w": np.ones(3, np.float32)}, result_metadata(replace(RESULT, num_examples=1000)))
        agents = [Foreign(lambda *_: (update, {})) for _ in range(2)]
        for client_id, agent in zip(("large", "small"), agents, strict=True):
            join(running, client_id, agent)
        training_id = await running.create(round_policy=policy(quorum=0.5), evaluation_clients=0)
        round_ = await running.run_round(training_id)
        assert statuses(round_) == {"large": "received", "small": "rejected"}
        assert await running.weight(training_id) == 1.0
        assert [len(agent.tasks) for agent in agents] == [1, 1], "nobody was asked for it again"


async def test_an_answer_to_an_evaluation_holds_no_tensors(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"good": Adder(STEP), "bad": Adder(STEP)}) as running:
        large = encode({}, {**result_metadata(RESULT), "x": "x" * ROOM})
        join(running, "bad", Foreign(lambda *_: (WHOLE, {}), evaluation=large))
        training_id = await running.create()
        round_ = await running.run_round(training_id)
        assert statuses(round_) == {"good": "received", "bad": "received"}
        assert round_.average_accuracy == pytest.approx(STEP / 10)  # of the good one alone
        assert (await running.system.clients.get("bad")).failures.wrong_evaluations == 1


async def test_an_honest_upload_of_a_foreign_agent_counts(sqlite_url: str, tmp_path: Path) -> None:
    """The same bytes as the hostile ones, without what is wrong with them."""
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        join(running, "a", Foreign(lambda *_: (zstd(HONEST), {"Content-Encoding": "zstd"})))
        training_id = await running.create(uploads=BOTH, evaluation_clients=0)
        round_ = await running.run_round(training_id)
        assert parts(round_)["a"].status == "received", parts(round_)["a"].reason
        assert parts(round_)["a"].bytes_received == len(zstd(HONEST))
        assert await running.weight(training_id) == STEP
