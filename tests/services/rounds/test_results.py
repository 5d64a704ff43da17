"""What comes of clients' tasks, as participations. `test_checking.py` and others have what is wrong with results."""

from pathlib import Path

from app.domain.rounds import Participation
from app.domain.tasks import TaskRun
from app.services.rounds.results import figures
from app.services.tasks.assignments import TaskOutcome
from app.store.model_store import ModelStore
from tcsfeel.wire.tasks import TaskResult
from tests.planes import Adder, plane
from tests.services.rounds.phases import phase


async def test_an_answer_that_is_missing_is_no_mean_and_no_update(sqlite_url: str, tmp_path: Path) -> None:
    async with plane(tmp_path, sqlite_url, {"a": Adder()}) as running:
        results = running.system.participants.results
        this, part = phase(ModelStore(tmp_path / "spool")), Participation(client_id="a", status="training")
        client = await running.system.clients.get("a")
        gone = TaskOutcome(TaskRun(), reason="gone")
        for ended, _ in (
            await results.checked(this, part, client, gone),
            await results.measured(this, part, client, gone),
        ):
            assert (ended.status, ended.reason) == ("failed", "gone")
        assert this.runs["a"].over  # and is not carried into another round
        assert figures(TaskResult(num_examples=3, loss=0.5, accuracy=0.25)) == {
            "num_examples": 3, "loss": 0.5, "accuracy": 0.25, "metrics": {"accuracy": 0.25},
        }  # fmt: skip
