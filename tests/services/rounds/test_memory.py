"""A round's files are larger together than the memory that they may take."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.untraced

PEAK = Path("/proc/self/clear_refs")  # writing 5 makes the kernel measure the peak anew

CODE = """
import sys
from pathlib import Path
import numpy as np
from app.domain.retries import RetryBudget
from app.domain.rounds import Participation
from app.domain.trainings import TrainingConfig
from app.services.rounds.files import RoundFiles
from app.services.rounds.phase import Phase
from app.services.tasks.assignments import Result
from app.store.leases import Lease
from app.store.model_store import ModelStore
from tcsfeel.wire.headers import TensorSpec, header
from tcsfeel.wire.sizes import fit_size
from tcsfeel.wire.tasks import TaskResult, result_metadata
from tests.store.samples import a_round, client, version

BYTES = 32 << 20
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10
def file(number):
    metadata = result_metadata(TaskResult(num_examples=1, loss=1, accuracy=1))
    yield header({"w": TensorSpec("F32", (BYTES // 4,), 0, BYTES)}, metadata)
    for _ in range(32):
        yield np.full(1 << 18, number, np.float32).data.cast("B")

files = RoundFiles(ModelStore(Path(sys.argv[1]) / "models", durable=False), Path(sys.argv[1]) / "spool")
spool = files.spool(a_round())
model = files.models.write(file(0))
updates = [spool.within(str(number)).write(file(number + 1)) for number in range(6)]
Path("/proc/self/clear_refs").write_text("5")
before = peak()
for n, update in enumerate(updates):
    base = files.load(model.sha256)
    phase = Phase(
        lease=Lease(training_id="t", owner="o", fence=1),
        round_=a_round(),
        kind="fit",
        config=TrainingConfig(name="t"),
        model=base,
        size=fit_size(base),
        spool=spool,
        budget=RetryBudget.of(1),
        deadline=1.0,
    )
    checked = files.check(phase, client(str(n)), Result(update, "identity", 0.0))
    assert checked.sketch is not None
    del base, phase, checked
parts = tuple(
    Participation(client_id=str(n), status="received", num_examples=1, loss=1.0, accuracy=1.0, update=update.sha256)
    for n, update in enumerate(updates)
)
value = a_round(base_model=model.sha256, participations=parts)
config, base = TrainingConfig(name="t", aggregation=sys.argv[2]), version(0, "0", sha256=model.sha256)
stored, _ = files.aggregate(config, value, base, spool)
print((peak() - before) / BYTES, np.unique(files.load(stored.sha256).parameters()["w"]).tolist())
"""


@pytest.mark.skipif(not PEAK.exists(), reason="only Linux tells a process's peak")
# Beside the models, each of the four threads has some pieces of a mebibyte: together up to a fifth of such a model.
@pytest.mark.parametrize(("rule", "models"), [("fedavg", 1.5), ("median", 1.5), ("fedadam", 3.5)])
def test_six_updates_are_checked_and_aggregated_in_the_memory_of_few(tmp_path: Path, rule: str, models: float) -> None:
    done = subprocess.run(  # noqa: S603  (this interpreter and code of ours)
        [sys.executable, "-c", CODE, str(tmp_path), rule], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    used, value = done.stdout.split(" ", 1)
    assert value == (
        "[0.09971469640731812]\n" if rule == "fedadam" else "[3.5]\n"
    )  # the mean, and the median, of 1 to 6
    assert float(used) < models
