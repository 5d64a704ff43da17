"""The rounds in which a client's update was used, on both databases."""

from dataclasses import replace

from app.domain.rounds import Participation, ParticipationStatus
from app.store.control_rounds import MANY
from app.store.database import Database
from tests.store.samples import a_round, training


async def test_the_last_round_that_used_an_update_of_each_client(db: Database) -> None:
    rounds: dict[int, tuple[str | None, dict[str, ParticipationStatus]]] = {
        1: ("1" * 64, {"a": "received", "b": "received", "c": "received"}),
        2: ("2" * 64, {"a": "received", "b": "rejected", "c": "failed"}),
        3: (None, {"a": "received", "b": "received"}),  # it was abandoned
        4: ("4" * 64, {"b": "received"}),
    }
    async with db.begin() as tx:
        await tx.trainings.add(training("t"))
        for number, (model, parts) in rounds.items():
            statuses = tuple(Participation(client_id=name, status=status) for name, status in parts.items())
            measured = Participation(kind="evaluate", client_id="c", status="received")  # which is not an update
            value = replace(a_round("t", number), model=model, participations=statuses, evaluations=(measured,))
            await tx.rounds.add(value)
            await tx.rounds.add_participations(value)
            await tx.rounds.add_evaluations(value)

    async def counted(after: int = 0, before: int = 5, ids: tuple[str, ...] = ("a", "b", "c", "d")) -> dict[str, int]:
        async with db.read() as tx:
            return await tx.control_rounds.counted("t", ids, after=after, before=before)

    assert await counted() == {"a": 2, "b": 4, "c": 1}
    assert await counted(before=4) == {"a": 2, "b": 1, "c": 1}, "an open round does not count itself"
    assert await counted(after=1) == {"a": 2, "b": 4}, "older control variates were dropped"
    assert await counted(ids=("c",)) == {"c": 1}
    assert await counted(ids=(*map(str, range(2 * MANY)), "a")) == {"a": 2}
    async with db.read() as tx:
        assert await tx.control_rounds.counted("other", ("a",), after=0, before=5) == {}
