"""What a training's tables must hold, told in plain Python."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from statistics import mean

import pytest

from app.store.database import Database
from tcsfeel.selection.sketches import SIZE

CLIENTS = ("a", "b", "c")
INITIAL = "0" * 64


@dataclass
class Truth:
    """What must be stored."""

    fence: int = 0
    training: str = "running"
    failed_in_row: int = 0
    rounds: list[str] = field(default_factory=list)
    parts: list[dict[str, str]] = field(default_factory=list)
    models: dict[int, tuple[str, str | None]] = field(default_factory=lambda: {0: (INITIAL, None)})
    counted: Counter[str] = field(default_factory=Counter)
    sketched: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def model(self) -> str:
        return self.models[max(self.models)][0]

    def skip_outstanding(self) -> None:
        parts = self.parts[-1]
        parts.update({client: "skipped" for client, status in parts.items() if status in {"pending", "training"}})

    async def compare(self, db: Database, training_id: str) -> None:
        """Fail where the database says anything else."""
        async with db.read() as tx:
            training = await tx.trainings.get(training_id)
            stored = (await tx.rounds.page(training_id, limit=100, before=None)).items[::-1]
            models = [await tx.models.get(training_id, number) for number in sorted(self.models)]
            counted = {client.id: client.rounds_completed for client in await tx.clients.all()}
            sketched = await tx.sketches.means(training_id)
        assert (training.status, training.fence, training.model) == (self.training, self.fence, self.model)
        assert (training.current_round, training.failed_in_row) == (len(self.rounds), self.failed_in_row)
        assert [one.status for one in stored] == self.rounds
        assert [{p.client_id: p.status for p in one.participations} for one in stored] == self.parts
        assert [(one.sha256, one.parent) for one in models] == [self.models[number] for number in sorted(self.models)]
        assert counted == {client: self.counted[client] for client in CLIENTS}
        assert sketched.keys() == self.sketched.keys()
        for client, given in self.sketched.items():
            assert sketched[client] == pytest.approx((mean(given),) * SIZE, abs=1e-6)
