"""Rounds and their participations as rows, on both databases."""

from dataclasses import replace
from typing import get_args

import pytest
from sqlalchemy.exc import IntegrityError

from app.domain.errors import NotFound
from app.domain.rounds import ENDED, OUTSTANDING, Evidence, Participation, ParticipationStatus, Round, RoundStatus
from app.domain.selections import PastSelection
from app.domain.summaries import Summary, TargetDoubt
from app.store.database import Database
from app.store.reading import Part
from tcsfeel.selection.types import Plan
from tests.lag import turns
from tests.store.samples import NOW, a_round, training, unsaid

PART = Participation(
    relay="b",
    client_id="edge-7", status="received", attempts=2, reason="second", num_examples=10**13, loss=-0.5, accuracy=1.0,
    bytes_sent=2**40, bytes_received=1, seconds=0.25, score=0.75, components={"quality": 0.5, "cost": -1e-9},
    finished_at=NOW, update="b" * 64, update_norm=1.5, traceback="t.py:1 in f\n  boom",
    metrics={"accuracy": 1.0, "rmse": 1e15}, num_steps=10**12, digest="e" * 64,
    evidence=Evidence(call='"@method": GET', answer='"@status": 200\n"content-digest": x', signature=":c2ln:"),
    weight=1 / 3, begun_in=1, base_model="f" * 64, staleness=2, carried_to=4, sent_before=2**41, local_epochs=2,
    asked_steps=10**12,
)  # fmt: skip
EVALUATION = Participation(kind="evaluate",
    client_id="b", status="received", attempts=1, reason="second", num_examples=10**13, loss=-1e300, accuracy=0.5,
    seconds=1.5, bytes_sent=2**40, bytes_received=7, metrics={"accuracy": 0.5, "rmse": -1e15},
)  # fmt: skip
FULL = Round(
    training_id="t",
    number=3,
    status="completed",
    seed=2**32 - 1,
    started_at=NOW,
    deadline_at=NOW + 1,
    ended_at=NOW + 0.5,
    connectivity_version=9,
    plan=Plan("star", {"edge-7": None, "b": "edge-7"}),
    goal=2,
    base_model="c" * 64,
    model="d" * 64,
    average_accuracy=0.0,
    average_loss=1.25,
    goal_value=1e15,
    metrics={"rmse": Summary(1e15, -1e15, 0.1, 1 / 3, 1e-9, 1e15, 2)},
    training_metrics={"loss": Summary(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1)},
    target_doubt=TargetDoubt("edge-7", 0.5),
    communication_cost=0.0,
    communication_bytes=2**41,
    convergence_speed=-0.1,
    fairness=1.0,
    label_divergence=0.125,
    failure_reason="none",
    hyperparameters={"rate": 1e300, "tiny": 5e-324, "epochs": 2**53, "on": True, "note": "x", "none": None},
    deadline_seconds=1.5,
    update_encoding="int8",
    waiting_since=NOW + 0.25,
    waited_seconds=0.5,
    step_failures=2,
    takeovers=3,
    population=10**13,
    weighting="balanced by the labels of 1 client",
    participations=(PART, Participation(client_id="b"), Participation(client_id="a")),
    evaluations=(
        EVALUATION,
        Participation(kind="evaluate", client_id="a", status="skipped", reason="it has no held-out examples"),
    ),
)


async def add(db: Database, *rounds: Round) -> None:
    async with db.begin() as tx:
        for training_id in dict.fromkeys(one.training_id for one in rounds):
            await tx.trainings.add(training(training_id))
        for one in rounds:
            await tx.rounds.add(one)
            await tx.rounds.add_participations(one)
            await tx.rounds.add_evaluations(one)


def parts(**statuses: ParticipationStatus) -> tuple[Participation, ...]:
    return tuple(Participation(client_id=name, status=status) for name, status in statuses.items())


def test_the_sample_has_something_in_every_field() -> None:
    assert unsaid(FULL, PART) == {"kind"}


@pytest.mark.parametrize("stored", [FULL, a_round()], ids=["every-field", "no-optional-field"])
async def test_a_round_comes_back_as_it_was_added_in_the_order_of_its_ranks(db: Database, stored: Round) -> None:
    await add(db, stored)
    async with db.read() as tx:
        assert await tx.rounds.get("t", stored.number) == stored


async def test_put_writes_the_round_and_leaves_the_participations(db: Database) -> None:
    await add(db, a_round(number=3, participations=parts(x="pending")))
    async with db.begin() as tx:
        await tx.rounds.put(FULL)
    async with db.read() as tx:
        assert await tx.rounds.get("t", 3) == replace(FULL, participations=parts(x="pending"), evaluations=())


async def test_a_round_number_and_a_client_are_taken_once(db: Database) -> None:
    await add(db, a_round(participations=parts(x="pending")))
    with pytest.raises(IntegrityError):
        async with db.begin() as tx:
            await tx.rounds.add(a_round())
    with pytest.raises(IntegrityError):
        async with db.begin() as tx:
            await tx.rounds.add_participations(a_round(participations=parts(x="pending")))


async def test_a_round_belongs_to_a_training(db: Database) -> None:
    with pytest.raises(IntegrityError):
        async with db.begin() as tx:
            await tx.rounds.add(a_round("nobody's"))


async def test_what_is_not_there_is_not_found(db: Database) -> None:
    await add(db, a_round())
    async with db.read() as tx:
        with pytest.raises(NotFound, match="there is no round 2 of training 't'"):
            await tx.rounds.get("t", 2)


@pytest.mark.parametrize("before", get_args(ParticipationStatus))
async def test_a_participation_is_written_only_while_it_is_outstanding(
    db: Database, before: ParticipationStatus
) -> None:
    await add(db, a_round(participations=parts(a=before, b="training")))
    update = replace(PART, client_id="a")
    async with db.begin() as tx:
        written = await tx.rounds.settle("t", 1, [update])
    assert written == ({"a": update} if before in OUTSTANDING else {})
    async with db.read() as tx:
        stored = (await tx.rounds.get("t", 1)).participations
    assert stored[0] == (update if written else Participation(client_id="a", status=before))
    assert stored[1] == Participation(client_id="b", status="training")


async def test_of_two_answers_one_is_written(db: Database) -> None:
    await add(db, a_round(participations=parts(a="training")))
    async with db.begin() as tx:
        assert await tx.rounds.settle("t", 1, [replace(PART, client_id="a")])
        assert not await tx.rounds.settle("t", 1, [replace(PART, client_id="a", update="e" * 64)])
        assert not await tx.rounds.settle("t", 1, [replace(PART, client_id="stranger")])
    async with db.read() as tx:
        assert (await tx.rounds.get("t", 1)).participations == (replace(PART, client_id="a"),)


async def test_pages_are_newest_first_with_participations(db: Database) -> None:
    rounds = [a_round(number=number, participations=(Participation(client_id=f"c{number}"),)) for number in (1, 2, 3)]
    await add(db, *rounds, a_round("other", 1))
    async with db.read() as tx:
        assert await tx.rounds.page("t", limit=2, before=None) == Part([rounds[2], rounds[1]], more=True)
        assert await tx.rounds.page("t", limit=2, before=2) == Part([rounds[0]], more=False)
        assert await tx.rounds.page("t", limit=2, before=1) == Part([], more=False)


async def test_the_round_before_is_the_last_one_that_completed(db: Database) -> None:
    statuses: list[RoundStatus] = ["completed", "completed", "abandoned", "training"]
    await add(db, *(a_round(number=number, status=status) for number, status in enumerate(statuses, 1)))
    async with db.read() as tx:
        before = await tx.rounds.previous("t", 4)
        assert before is not None
        assert before.number == 2
        assert await tx.rounds.previous("t", 1) is None


async def test_past_selections_tell_who_was_chosen_and_whose_update_came(db: Database) -> None:
    await add(
        db,
        a_round(number=2, participations=parts(b="skipped")),
        a_round(number=1, status="abandoned", participations=parts(a="received", b="failed")),
        a_round(number=3, status="abandoned"),
        a_round(number=4, participations=parts(a="received")),
        a_round("other", 1, participations=parts(z="received")),
    )
    async with db.read() as tx:
        assert await tx.histories.selections("t", after=0, before=4) == [
            PastSelection(NOW + 1, frozenset({"a", "b"}), frozenset({"a"})),
            PastSelection(NOW + 2, frozenset({"b"}), frozenset()),
        ]
        assert await tx.histories.selections("t", after=0, before=1) == []


async def test_past_selections_tell_the_losses_and_examples_of_the_updates_that_came(db: Database) -> None:
    received = Participation(client_id="a", status="received", loss=0.5, num_examples=10**15)
    silent = Participation(client_id="b", status="received")
    rejected = Participation(client_id="c", status="rejected", loss=9.0, num_examples=9)
    negative = Participation(client_id="a", status="received", loss=-2.0)
    await add(
        db,
        a_round(number=1, status="abandoned", participations=(received, silent, rejected)),
        a_round(number=2, participations=(negative,)),
        a_round("other", 1, participations=(replace(received, loss=7.0),)),
    )
    async with db.read() as tx:
        found = await tx.histories.selections("t", after=0, before=3)
    assert [past.losses for past in found] == [{"a": 0.5}, {"a": -2.0}]
    assert [past.examples for past in found] == [{"a": 10**15}, {}]


@pytest.mark.parametrize("status", get_args(RoundStatus))
async def test_clients_with_a_task_in_flight_are_busy_while_their_round_is_open(
    db: Database, status: RoundStatus
) -> None:
    all_of_them = parts(p="pending", t="training", r="received", j="rejected", f="failed", s="skipped")
    await add(db, a_round(status=status, participations=all_of_them))
    async with db.read() as tx:
        assert await tx.rounds.busy_clients() == (frozenset() if status in ENDED else {"p", "t"})


async def test_a_training_does_not_find_its_own_clients_busy(db: Database) -> None:
    await add(db, a_round(participations=parts(a="training")), a_round("u", participations=parts(b="training")))
    async with db.read() as tx:
        assert await tx.rounds.busy_clients() == {"a", "b"}
        assert await tx.rounds.busy_clients(except_training="t") == {"b"}


def crowd(number: int, size: int) -> Round:
    """A round of `size` participations, ranked against the order of their ids."""
    parts = (Participation(client_id=f"c{one:04}", reason="x" * 400) for one in reversed(range(size)))
    return a_round("t", number, participations=tuple(parts))


async def test_others_have_their_turn_while_rounds_of_many_clients_are_read(db: Database) -> None:
    rounds = [crowd(1, 300), a_round("t", 2), crowd(3, 300)]
    await add(db, *rounds)
    async with db.read() as tx, turns() as counted:
        assert (await tx.rounds.page("t", limit=5, before=None)).items == rounds[::-1]
    assert counted.number >= 5  # 600 participations of about 900 each
    async with db.read() as tx, turns() as counted:
        assert await tx.rounds.get("t", 3) == rounds[2]
    assert counted.number >= 2


async def test_a_page_ends_with_the_round_with_which_it_is_long_enough(db: Database) -> None:
    rounds = [crowd(1, 30), crowd(2, 30), a_round("t", 3), crowd(4, 30), a_round("t", 5)]
    await add(db, *rounds)
    read: list[list[int]] = []
    before, more = None, True
    while more:
        async with db.read() as tx:
            page = await tx.rounds.page("t", limit=4, before=before, most_bytes=25_000)
        assert page.items == [rounds[one.number - 1] for one in page.items]
        read.append([one.number for one in page.items])
        before, more = page.items[-1].number, page.more
    assert [number for numbers in read for number in numbers] == [5, 4, 3, 2, 1]
    assert read[0] == [5, 4]
    assert read[-1] == [1]


async def test_past_selections_are_read_in_turns(db: Database) -> None:
    await add(db, crowd(1, 400), crowd(2, 400))
    async with db.read() as tx, turns() as counted:
        past = await tx.histories.selections("t", after=0, before=3)
    assert [len(one.selected) for one in past] == [400, 400]
    assert counted.number >= 3
