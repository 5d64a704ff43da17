"""Documents in rows that a newer version has written: this one reads what it knows."""

import json
import zlib
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.breaker import Breaker
from app.domain.clients import Measured
from app.domain.failures import Failure, Failures
from app.domain.identity import Identity
from app.domain.rounds import Evidence, Participation
from app.domain.summaries import Summary, TargetDoubt
from app.domain.trainings import Origin
from app.store import client_rows, round_rows
from app.store.documents import value_of
from app.store.selections import packed, unpacked
from app.store.trainings import training_of
from tcsfeel.selection.types import Chosen, Plan, Selection, Skipped
from tests.store.samples import NOW, a_round, client, training

NEW = {"of_a_newer_version": [1]}


def row(given: dict[str, Any], *documents: str) -> Any:
    """A row in which each of these documents has a field that is not known here."""
    return SimpleNamespace(**given | {name: given[name] | NEW for name in documents})


def test_a_client_is_read() -> None:
    failure = Failure(at=NOW, kind="faulty", reason="no", phase="fit", training_id="t", round=1)
    given = client("a", breaker=Breaker(last_failures=(failure,)), measured=Measured(), identity=Identity())
    written = client_rows.row_of(given)
    written["breaker"]["last_failures"] = [asdict(failure) | NEW]
    written |= {"failures": asdict(Failures()), "identity": asdict(Identity())}
    documents = ("measured", "breaker", "failures", "identity")
    texts = {name: json.dumps(written[name] | NEW) for name in documents} | {"tags": "{}"}
    assert client_rows.client_of(row(written | texts)) == given


def test_a_training_is_read() -> None:
    origin = Origin(training_id="s", round=1, model="a" * 64)
    given = training("t", origin=origin, fence=1)
    named = {name: getattr(given, name, None) for name in given.__slots__}
    named |= {"config": asdict(given.config), "origin": asdict(origin), "unmatched": None}
    named |= {"progress_state": None}
    assert training_of(row(named, "config", "origin")) == given


def test_a_round_and_its_participations_are_read() -> None:
    summary = Summary(mean=1.0, min=1.0, p25=1.0, p50=1.0, p75=1.0, max=1.0, clients=2)
    given = a_round(target_doubt=TargetDoubt("a", 0.5), metrics={"loss": summary}, plan=Plan("star", {}))
    written = round_rows.row_of(given)
    written["metrics"]["loss"] |= NEW
    assert round_rows.round_of(row(written, "target_doubt", "plan")) == given
    evidence = Evidence(call="POST /", answer="digest", signature=":signature:")
    part = Participation(client_id="a", evidence=evidence)
    named = {name: getattr(part, name) for name in part.__slots__} | {"metrics": {}, "evidence": asdict(evidence)}
    assert round_rows.participation_of(row(named, "evidence")).evidence == evidence


def test_a_selection_is_read() -> None:
    chosen, skipped = Chosen("a", 1.0, {}, 0.5), Skipped("b", "away")
    given = Selection("random", (chosen,), (skipped,), 0.5, None, 1.0, 2.0, Plan("star", {"a": None}))
    document = json.loads(zlib.decompress(packed(given))) | NEW
    for part in (document["plan"], document["selected"][0], document["skipped"][0]):
        part.update(NEW)
    assert unpacked(zlib.compress(json.dumps(document).encode())) == given


def test_a_field_that_is_missing_is_an_error() -> None:
    with pytest.raises(TypeError, match="mean"):
        value_of(TargetDoubt, {"client_id": "a"} | NEW)
