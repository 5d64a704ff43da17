"""A task while it is run."""

from pathlib import Path

import numpy as np

from app.domain.tasks import TaskRun
from app.services.tasks.assignments import Assignment, Frozen
from app.services.tasks.pursuits import Pursuit
from app.store.model_store import ModelStore
from tcsfeel.wire.codec import pack
from tests.services.bench import MODEL, TASK
from tests.services.fakes import profile
from tests.store.samples import client


def test_a_body_is_made_once_and_names_what_it_was_made_from(tmp_path: Path) -> None:
    whole = pack({"w": np.zeros(4, np.float32), "frozen": np.zeros(2, np.float32)})
    of = Assignment(client("a", profile=profile()), TASK, MODEL, ModelStore(tmp_path), frozen=Frozen("f", whole))
    pursuit = Pursuit(of, {}, of.client.endpoint)
    pursuit.run = TaskRun(attempts=2)
    assert (pursuit.runs, pursuit.run.attempts) == ({"a": TaskRun(attempts=2)}, 2)
    assert pursuit.body(partly=False) is pursuit.body(partly=False)
    models = [body.origin and body.origin.model for body in (pursuit.body(partly=True), pursuit.body(partly=False))]
    assert models == [MODEL, whole]
