"""Carried participations that no later round has taken in."""

from dataclasses import replace

from app.domain.carrying import Carried
from app.domain.rounds import Participation
from app.store.database import Database
from tests.store.samples import NOW, a_round, training, version

BASE = "b" * 64


def part(client_id: str, status: str, **fields: object) -> Participation:
    return Participation(client_id=client_id, status=status, **fields)  # type: ignore[arg-type]  # a test's own


OPEN = part("a", "carried", begun_in=1, base_model=BASE)
TAKEN_IN = part("b", "carried", begun_in=1, base_model="c" * 64, carried_to=2)
ENDED = part("c", "received")
FIRST = a_round(number=1, status="completed", participations=(ENDED, TAKEN_IN, OPEN))


async def added(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training())
        await tx.trainings.add(training("u"))
        for round_ in (FIRST, a_round("u", 1, participations=(replace(OPEN, client_id="u"),))):
            await tx.rounds.add(round_)
            await tx.rounds.add_participations(round_)


async def test_only_open_ones_of_the_training_are_found_and_their_clients_are_busy(db: Database) -> None:
    await added(db)
    async with db.read() as tx:
        assert await tx.carried.open("t") == [Carried(1, OPEN)]
        assert await tx.rounds.busy_clients() == {"a", "u"}
        assert await tx.rounds.busy_clients(except_training="t") == {"u"}


async def test_trainings_with_open_ones_that_do_not_run_are_found(db: Database) -> None:
    await added(db)
    async with db.begin() as tx:
        assert await tx.carried.resting() == ["t", "u"]
        await tx.trainings.put(training("u", status="running"))
        assert await tx.carried.resting() == ["t"]
        await tx.carried.take_in("t", 2)
        assert await tx.carried.resting() == []


async def test_one_that_a_round_takes_in_is_not_open_any_more(db: Database) -> None:
    await added(db)
    async with db.begin() as tx:
        assert await tx.carried.take_in("t", 2) == 1
    async with db.read() as tx:
        assert await tx.carried.open("t") == []
        assert (await tx.rounds.get("t", 1)).participations[2] == replace(OPEN, carried_to=2)


async def test_one_ends_once(db: Database) -> None:
    await added(db)
    ended = replace(OPEN, status="skipped", reason="late")
    async with db.begin() as tx:
        await tx.carried.end("t", [Carried(1, ended)])
        await tx.carried.end("t", [Carried(1, replace(ended, reason="again"))])
        assert await tx.carried.take_in("t", 2) == 0
    async with db.read() as tx:
        assert (await tx.rounds.get("t", 1)).participations == (ENDED, TAKEN_IN, ended)


async def test_the_models_of_open_tasks_and_of_updates_in_an_open_round_are_in_use(db: Database) -> None:
    await added(db)
    second = a_round(
        number=2,
        participations=(
            part("d", "training", begun_in=1, base_model="d" * 64),
            part("e", "received", begun_in=1, base_model="e" * 64),
            part("f", "failed", begun_in=1, base_model="f" * 64),
            part("g", "training"),
        ),
    )
    async with db.begin() as tx:
        await tx.rounds.add(second)
        await tx.rounds.add_participations(second)
    async with db.read() as tx:
        assert await tx.carried.bases("t") == {BASE, "d" * 64, "e" * 64}
    async with db.begin() as tx:
        await tx.rounds.put(replace(second, status="completed", ended_at=NOW))
    async with db.read() as tx:
        assert await tx.carried.bases("t") == {BASE}


async def test_a_history_has_a_carried_task_where_it_was_selected_and_its_update_where_it_came(db: Database) -> None:
    await added(db)
    second = a_round(
        number=2,
        status="completed",
        participations=(part("a", "received", begun_in=1, loss=0.5), part("d", "received")),
    )
    async with db.begin() as tx:
        await tx.rounds.add(second)
        await tx.rounds.add_participations(second)
    async with db.read() as tx:
        past = await tx.histories.selections("t", after=0, before=3)
    assert [one.selected for one in past] == [{"a", "b", "c"}, {"d"}]
    assert [one.received for one in past] == [{"c"}, {"a", "d"}]


async def test_the_versions_since_a_round_are_counted(db: Database) -> None:
    async with db.begin() as tx:
        await tx.trainings.add(training())
        for number in (0, 1, 3):
            await tx.models.add(version(number, "abcd"[number]))
    async with db.read() as tx:
        assert [await tx.models.made_since("t", number) for number in range(5)] == [3, 2, 1, 1, 0]


async def test_a_round_is_read_without_its_participations(db: Database) -> None:
    await added(db)
    async with db.read() as tx:
        assert await tx.rounds.head("t", 1) == replace(FIRST, participations=())
