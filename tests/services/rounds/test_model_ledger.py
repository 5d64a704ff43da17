"""Versions of a model: a training gets its first one once, and none is named whose file may be gone."""

import pytest

from app.domain.parameter_groups import Unmatched
from app.services.rounds.files import FirstModel
from app.services.rounds.model_ledger import ModelLedger
from app.services.rounds.owned import OwnedTransactions
from app.store.database import Database
from app.store.leases import Fenced, Lease
from app.store.model_store import StoredFile
from app.store.removals import FileRemoved
from tests.clocks import FakeClock
from tests.services.rounds.stored import begun, told
from tests.store.samples import NOW, training

CLOCK = FakeClock(NOW + 100.0)
FIRST, SECOND, STATE = StoredFile("1" * 64, 8), StoredFile("2" * 64, 9), "3" * 64


@pytest.fixture
def ledger(db: Database) -> ModelLedger:
    return ModelLedger(db, OwnedTransactions(db), CLOCK)


def first(file: StoredFile, **unmatched: tuple[str, ...]) -> FirstModel:
    return FirstModel(file, Unmatched(**unmatched))


async def claimed(db: Database) -> Lease:
    """The lease of a training that has a round and no model."""
    await begun(db, {"a": "pending"})
    async with db.begin() as tx:
        claim = await tx.leases.claim("us", 600.0)
    assert claim is not None
    return claim.lease


async def test_a_training_gets_its_first_model_once(db: Database, ledger: ModelLedger) -> None:
    lease = await claimed(db)
    assert await ledger.begin(lease, first(FIRST), since=1.0) == FIRST.sha256
    assert await ledger.begin(lease, first(SECOND), since=1.0) == FIRST.sha256
    async with db.read() as tx:
        assert (await tx.trainings.get(lease.training_id)).model == FIRST.sha256
        version = await tx.models.get(lease.training_id)
    assert (version.round, version.sha256, version.parent, version.size) == (0, FIRST.sha256, None, 8)
    events = [(event.type, event.data["model"]) for event in await told(db)]
    assert events == [("training.model_fetched", FIRST.sha256)]


async def test_patterns_that_match_no_tensor_of_the_first_model_are_told_once(
    db: Database, ledger: ModelLedger
) -> None:
    lease = await claimed(db)
    given = first(FIRST, local=("bm.*",), averaged=("*.emma",))
    for _ in range(2):
        await ledger.begin(lease, given, since=1.0)
    events = [event.data for event in await told(db) if event.type == "training.patterns_unmatched"]
    assert events == [{"averaged": ["*.emma"], "local": ["bm.*"], "frozen": []}]


async def test_an_owner_that_was_overtaken_stores_no_model(db: Database, ledger: ModelLedger) -> None:
    lease = await claimed(db)
    async with db.begin() as tx:
        await tx.leases.revoke(lease.training_id)
    with pytest.raises(Fenced):
        await ledger.begin(lease, first(FIRST), since=1.0)
    async with db.read() as tx:
        assert (await tx.trainings.get(lease.training_id)).model is None


async def test_a_version_has_its_parent_and_its_state_and_the_caller_stores_the_training(
    db: Database, ledger: ModelLedger
) -> None:
    await claimed(db)
    async with db.begin() as tx:
        given = training(model=FIRST.sha256)
        after, _ = await ledger.add(tx, given, 1, SECOND, since=1.0, parent=FIRST.sha256, optimiser_state=STATE)
        version = await tx.models.get("t", 1)
        assert (await tx.trainings.get("t")).model is None
    assert (after.model, after.updated_at) == (SECOND.sha256, CLOCK.now())
    assert (version.parent, version.optimiser_state) == (FIRST.sha256, STATE)
    assert (version.size, version.created_at) == (9, CLOCK.now())


@pytest.mark.parametrize("removed", [SECOND.sha256, STATE], ids=["the model", "the state"])
async def test_a_file_that_is_being_removed_is_not_named_until_it_is_written_again(
    db: Database, ledger: ModelLedger, removed: str
) -> None:
    await claimed(db)
    since = await ledger.now()
    async with db.begin() as tx:
        await tx.removals.request([removed])
    async with db.begin() as tx:
        until = await tx.removals.begin(removed)
    assert until is not None
    async with db.begin() as tx:
        with pytest.raises(FileRemoved, match=removed):
            await ledger.add(tx, training(), 1, SECOND, since=since, optimiser_state=STATE)
        await ledger.add(tx, training(), 1, SECOND, since=until + 1.0, optimiser_state=STATE)
        assert (await tx.models.get("t", 1)).sha256 == SECOND.sha256


async def test_now_is_the_time_of_the_database(db: Database, ledger: ModelLedger) -> None:
    before = await ledger.now()
    async with db.read() as tx:
        between = await tx.now()
    assert before <= between <= await ledger.now()
    assert before != CLOCK.now()
