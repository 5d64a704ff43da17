"""Who may train, and why others may not."""

from dataclasses import replace

import pytest

from app.domain.breaker import Breaker
from app.domain.clients import Client, Measured, Profile
from app.domain.eligibility import ANYWHERE, Where, divided
from tcsfeel.selection.types import Skipped

PROFILE = Profile(
    url="http://a", data_size=100, compute_capacity=1.0, bandwidth=1.0, latency=1.0, reliability=0.75,
    tags={"site": "north", "kind": "phone"},
)  # fmt: skip
CLIENT = Client(id="a", profile=PROFILE, created_at=0.0, updated_at=0.0)


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (ANYWHERE, None),
        (Where(tags={"site": "north", "kind": "phone"}), None),
        (Where(tags={"site": "north", "kind": "pc"}), "it does not have the tag kind:pc that the training asks for"),
        (Where(tags={"lab": "x"}), "it does not have the tag lab:x that the training asks for"),
        (Where(clients=("b", "a")), None),
        (Where(clients=("b",)), "it is not one of the clients that the training names"),
        (Where(exclude=("b",)), None),
        (Where(clients=("a",), exclude=("a",)), "the training excludes it"),
        (Where(min_data_size=100), None),
        (Where(min_data_size=101), "it has 100 samples, and the training asks for 101"),
        (Where(min_reliability=0.75), None),
        (Where(min_reliability=0.8), "its reliability is 0.75, and the training asks for 0.8"),
    ],
)
def test_a_client_may_train_where_it_meets_every_condition(where: Where, reason: str | None) -> None:
    assert list(where.refusals([CLIENT])) == [reason]


def test_what_was_measured_counts_more_than_what_was_claimed() -> None:
    measured = replace(CLIENT, measured=Measured(reliability=0.5))
    assert next(Where(min_reliability=0.5).refusals([measured])) is None
    (reason,) = Where(min_reliability=0.6).refusals([measured])
    assert reason == "its reliability is 0.50, and the training asks for 0.6"


def test_every_client_is_on_offer_or_shut_out_with_its_first_reason() -> None:
    north = Where(tags={"site": "north"})
    south = replace(CLIENT, id="south", profile=replace(PROFILE, tags={"site": "south"}), status="down")
    excluded = replace(CLIENT, id="excluded", status="down")
    down = replace(CLIENT, id="down", status="down", created_at=7.0, breaker=Breaker(state="open"))
    suspect = replace(CLIENT, id="suspect", status="suspect", last_seen_at=9.0)
    broken = replace(CLIENT, id="broken", breaker=Breaker(state="open"))
    forced = replace(CLIENT, id="forced", breaker=Breaker(state="open"))
    unproven = replace(CLIENT, id="unproven", public_key="key")
    busy = replace(CLIENT, id="busy")
    clients = [south, CLIENT, excluded, down, suspect, broken, forced, unproven, busy]
    offered, shut_out = divided(
        clients,
        north,
        excluded={"excluded", "south"},
        admitted={client.id for client in clients} - {"broken", "down"},
        busy={"busy", "broken"},
    )
    assert offered == (CLIENT, forced)
    assert shut_out == (
        Skipped("south", "it does not have the tag site:north that the training asks for"),
        Skipped("excluded", "the request excludes it"),
        Skipped("down", "its status is down: the server last heard from it at 1970-01-01 00:00:07 UTC"),
        Skipped("suspect", "its status is suspect: the server last heard from it at 1970-01-01 00:00:09 UTC"),
        Skipped("broken", "its breaker is open"),
        Skipped("unproven", "unproven: its address has not yet answered with a signature of its device"),
        Skipped("busy", "it has a task in flight for another training"),
    )


class Counted(str):
    """An id that counts how often it was compared."""

    __slots__ = ()
    __hash__ = str.__hash__
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return str.__eq__(self, other)


def test_the_ids_of_a_training_are_not_searched_again_for_each_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "comparisons", 0)
    count = 500
    where = Where(
        clients=tuple(Counted(f"c{number}") for number in range(count)),
        exclude=tuple(Counted(f"x{number}") for number in range(count)),
    )
    clients = [replace(CLIENT, id=f"{kind}{number}") for number in range(count) for kind in "cxu"]
    offered, shut_out = divided(clients, where, excluded=(), admitted={one.id for one in clients}, busy=())
    assert (len(offered), len(shut_out)) == (count, 2 * count)
    assert 0 < Counted.comparisons < 10 * count
