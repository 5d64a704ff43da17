"""The reasons of clients that were not drawn are written when they are read, and are the same as if they had been."""

from dataclasses import replace

import numpy as np
import pytest

from tcsfeel.network.connectivity import Connectivity
from tcsfeel.selection import History, Selection, SelectionPolicy, select
from tcsfeel.selection.soundness import Unsound, sound
from tcsfeel.selection.types import Skipped
from tcsfeel.selection.unselected import LARGEST, Phrase, Unselected, joined
from tests.tcsfeel.worlds import candidates

POLICY = SelectionPolicy(min_clients=2, max_clients=2)
NUMBERS = np.array([0.25, 0.75, 0.5], np.float32)
SKIPPED = Unselected(("y", "chosen", "x"), Phrase(("it drew {:.3f}",), NUMBERS), (1,))
WRITTEN = [Skipped("y", "it drew 0.250"), Skipped("x", "it drew 0.500")]


def drawn(policy: SelectionPolicy = POLICY) -> Selection:
    clients = candidates(6)
    return select("random", clients, Connectivity.empty(), History(), policy, np.random.default_rng(1))


def test_it_is_a_sequence_of_skipped_clients() -> None:
    skipped = joined(SKIPPED, [Skipped("c", "it is down")])
    assert isinstance(skipped, Unselected)
    assert list(skipped) == [*WRITTEN, Skipped("c", "it is down")]
    assert skipped == tuple(skipped)
    assert skipped != WRITTEN
    assert (len(skipped), skipped[-1], skipped[0]) == (3, Skipped("c", "it is down"), WRITTEN[0])
    assert list(skipped[1:]) == [WRITTEN[1], Skipped("c", "it is down")]
    with pytest.raises(IndexError):
        skipped[3]
    assert hash(joined(SKIPPED, [])) == hash(SKIPPED)


def test_others_follow_reasons_that_are_written() -> None:
    assert joined(tuple(WRITTEN), [Skipped("c", "it is down")]) == (*WRITTEN, Skipped("c", "it is down"))


def test_clients_that_were_not_drawn_say_what_they_drew() -> None:
    draws = np.random.default_rng(1).random(6)
    last = sorted(draws)[-2]
    names = [client.client_id for client in candidates(6)]
    selection = drawn()
    assert isinstance(selection.skipped, Unselected)
    assert list(selection.skipped) == [
        Skipped(name, f"it drew {draw:.3f}, and the lowest of the 2 chosen drew {last:.3f}")
        for name, draw in zip(names, draws, strict=True)
        if draw < last
    ]


def test_a_client_that_costs_too_much_says_so() -> None:
    budget = drawn().total_cost
    reasons = [one.reason for one in drawn(replace(POLICY, min_clients=1, budget_constraint=budget / 2)).skipped]
    assert any("to a budget of which" in reason for reason in reasons)


def test_each_client_has_one_of_several_reasons_which_may_quote_braces() -> None:
    texts = ("nobody says this", f"{Phrase.quoted('{a}')} took {{:.2f}} s", "too late")
    phrase = Phrase.of(texts, [1.5, 2.0, 1e300], [1, 2, 1])
    assert [phrase(position) for position in (0, 1)] == ["{a} took 1.50 s", "too late"]
    assert phrase(2) == f"{{a}} took {LARGEST:.2f} s", "numbers of single precision"
    assert phrase.texts == texts[1:]


def test_a_draw_keeps_its_three_digits() -> None:
    draws = np.arange(1001) / 1000
    phrase = Phrase(("{:.3f}",), draws.astype(np.float16))
    assert [phrase(position) for position in range(1001)] == [f"{draw:.3f}" for draw in draws]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (replace(SKIPPED, client_ids=("y", "c", "y")), "it named client 'y'"),
        (replace(SKIPPED, client_ids=("y", "c", "nobody")), "it named client 'nobody'"),
        (replace(SKIPPED, others=(Skipped("x", "twice"),)), "it named client 'x'"),
        (replace(SKIPPED, chosen=()), "it named client 'chosen'"),
    ],
)
def test_clients_of_a_phrase_are_checked(wrong: Unselected, why: str) -> None:
    selection = drawn()
    offered = [*selection.client_ids, "x", "y"]
    assert sound(replace(selection, skipped=SKIPPED), offered, POLICY).skipped == tuple(WRITTEN)
    with pytest.raises(Unsound, match=why):
        sound(replace(selection, skipped=wrong), offered, POLICY)
