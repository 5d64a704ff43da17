"""Look at a server after an attack: its models, its audit trail, its clients, and its spools."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import numpy.typing as npt

from app.services.rounds.files import SPARES
from tcsfeel.wire.codec import decode
from tests.harnesses.hostile.calling import call

Model = Mapping[str, npt.NDArray[Any]]

LOOKED_AT = 3  # rounds of a training, the newest ones
NEAR = 1e-4
EMPTY_SECONDS = 20.0  # until the spools have to be empty
PAGE = 1000


async def items(api: httpx2.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """Return everything that a path lists."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        page = await call(api, "GET", path, params=query | more)
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def unexplained(api: httpx2.AsyncClient, name: str, training: str, rounds: Sequence[Any]) -> list[str]:
    """Compute the newest models of an attacked training from the updates of its honest agents alone.

    Agents that are hostile when they evaluate send the model back that they are given. Returns what is wrong with
    models that are something else.
    """
    completed = [round_ for round_ in rounds if round_["status"] == "completed"]
    wrong = []
    for before, round_ in list(zip([{"number": 0}, *completed], completed, strict=False))[-LOOKED_AT:]:
        base, made = await _model(api, training, before["number"]), await _model(api, training, round_["number"])
        counted = [part["client_id"] for part in round_["participations"] if part["status"] == "received"]
        honest = [int(one.rsplit("-", 1)[1]) for one in counted if "honest" in one]
        still = sum("honest" not in one for one in counted) if name == "evaluate" else 0
        expected = _mean(base, honest, still, round_["number"])
        if not counted or any(not np.allclose(made[key], expected[key], atol=NEAR) for key in base):
            wrong.append(f"the model of round {round_['number']} of {name} is not the mean of its honest updates")
    return wrong


async def _model(api: httpx2.AsyncClient, training: str, number: int) -> Model:
    response = await api.get(f"/v1/trainings/{training}/model", params={"round": number})
    response.raise_for_status()
    return decode(response.content)[0]


def _mean(base: Model, numbers: Sequence[int], still: int, round_: int) -> Model:
    """Return the weighted mean of the updates of learners (`tests.harnesses.fleet.Learner`) with these numbers.

    `still` is how many agents besides send the model back as it is.
    """
    total = {key: 10.0 * still * value for key, value in base.items()}
    for number in numbers:
        rng = np.random.default_rng([number, round_])
        rng.uniform(0.5, 1.5)
        for key, value in base.items():
            total[key] += (10 + number) * (np.float32(0.9) * value + rng.normal(0, 0.1, value.shape))
    weight = max(1, 10 * still + sum(10 + number for number in numbers))
    return {key: value / weight for key, value in total.items()}


def spooled(data: Path, *, spare: bool = True) -> int:
    """Return the bytes of the spools, with spare files or without. Files may be removed while they are counted."""
    total = 0
    for directory, _, names in os.walk(data / "spool"):
        if not spare and Path(directory).name == SPARES:
            continue
        for name in names:
            try:
                total += (Path(directory) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


async def emptied(spooled: Callable[[], int]) -> int:
    """Wait until the spools are empty, for a while, and return the bytes that are left."""
    loop = asyncio.get_running_loop()
    end = loop.time() + EMPTY_SECONDS
    while (left := await asyncio.to_thread(spooled)) and loop.time() < end:  # noqa: ASYNC110  (files ring no bell)
        await asyncio.sleep(0.1)
    return left
