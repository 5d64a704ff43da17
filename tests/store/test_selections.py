"""Selections of rounds: whole, one a round, gone with their training."""

import base64
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

from app.domain.errors import NotFound
from app.store.database import Database
from app.store.selections import packed, unpacked
from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import History, Selection, SelectionPolicy, select
from tcsfeel.selection.types import Chosen, Plan, Skipped
from tcsfeel.selection.unselected import joined
from tests.store.samples import a_round, training
from tests.tcsfeel.worlds import skewed


def planned(count: int, strategy: str = "tcs-feel") -> Selection:
    clients = skewed(count, seed=1)
    connectivity = Connectivity.empty(client.client_id for client in clients)
    policy = SelectionPolicy(min_clients=4, max_clients=4, topology="relay")
    return select(strategy, clients, connectivity, History(), policy, np.random.default_rng(1))


@pytest.mark.parametrize("strategy", ["tcs-feel", "random"])
async def test_a_selection_comes_back_as_it_was_stored(db: Database, strategy: str) -> None:
    chosen = planned(20, strategy)
    chosen = replace(chosen, skipped=joined(chosen.skipped, [Skipped("down", "its status is down")]))
    async with db.begin() as tx:
        await tx.trainings.add(training())
        await tx.rounds.add(a_round())
        await tx.selections.add("t", 1, packed(chosen))
    async with db.read() as tx:
        document = await tx.selections.get("t", 1)
        with pytest.raises(NotFound, match="t/2"):
            await tx.selections.get("t", 2)
    back = unpacked(document)
    assert back == chosen
    assert list(back.skipped) == list(chosen.skipped)
    assert len(back.skipped) == 17


def test_a_large_fleets_reasons_stay_small() -> None:
    assert len(packed(planned(1000))) < 40 * 1000  # bytes a client


def test_a_document_with_a_reason_for_each_client_can_still_be_read() -> None:
    document = {
        "strategy": "random",
        "selected": [{"client_id": "a", "score": 0.9, "components": {"cost": 1.5}, "marginal_cost": 1.5}],
        "skipped": [{"client_id": "b", "reason": "it drew 0.100, and the lowest of the 1 chosen drew 0.900"}],
        "total_cost": 1.5,
        "label_divergence": None,
        "fairness": 1.0,
        "expected_seconds": 2.0,
        "plan": {"topology": "star", "parents": {"a": None}},
    }
    assert unpacked(zlib.compress(json.dumps(document).encode())) == Selection(
        strategy="random",
        selected=(Chosen("a", 0.9, {"cost": 1.5}, 1.5),),
        skipped=(Skipped("b", "it drew 0.100, and the lowest of the 1 chosen drew 0.900"),),
        total_cost=1.5,
        label_divergence=None,
        fairness=1.0,
        expected_seconds=2.0,
        plan=Plan("star", {"a": None}),
    )


def test_a_document_of_an_earlier_version_with_one_phrase_can_still_be_read() -> None:
    written = planned(6, "random")
    texts = [one.reason for one in written.skipped]
    text = texts[0].partition(",")[2].replace("{", "{{")
    numbers = np.array([float(reason.split()[2].rstrip(",")) for reason in texts], "<f4")
    document = json.loads(zlib.decompressobj().decompress(packed(written)))
    document.pop("reasons")
    document["unselected"] = {
        "client_ids": [one.client_id for one in written.skipped],
        "text": "it drew {:.3f}," + text,
        "numbers": base64.b64encode(numbers.tobytes()).decode(),
    }
    assert unpacked(zlib.compress(json.dumps(document).encode())) == written


def test_an_earlier_version_can_read_a_document_without_the_reasons() -> None:
    document = json.loads(zlib.decompress(packed(planned(6))))
    assert (len(document["selected"]), document["skipped"]) == (4, [])
