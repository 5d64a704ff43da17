"""Places are divided fairly between the parties that want them."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sharing import SHARE, Places, Portions, current_party, party


async def hold(places: Places, name: str, count: int) -> tuple[list[asyncio.Task[str]], list[asyncio.Task[str]]]:
    """Let a party ask for `count` places; returns who got one, and who waits."""
    with party(name):
        asked = [asyncio.create_task(places.take()) for _ in range(count)]
    await settle()
    return [task for task in asked if task.done()], [task for task in asked if not task.done()]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def call_off(*tasks: asyncio.Task[str]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("limit", "alone"), [(1, 1), (2, 2), (8, 8), (9, 8), (90, 80), (200, 178)])
async def test_a_party_that_is_alone_gets_eight_of_nine_places(limit: int, alone: int) -> None:
    got, waiting = await hold(Places(limit), "a", limit)
    assert len(got) == alone
    await call_off(*waiting)


async def test_newcomers_get_places_at_once_while_others_give_none_back() -> None:
    places = Places(200)
    first, waiting = await hold(places, "greedy", 300)
    second, waiting_too = await hold(places, "newcomer", 300)
    third, still_waiting = await hold(places, "another", 300)
    assert (len(first), len(second), len(third)) == (178, 20, 2)
    await call_off(*waiting, *waiting_too, *still_waiting)


async def test_places_that_come_free_go_to_the_party_that_holds_the_fewest() -> None:
    places = Places(90)
    first, waiting = await hold(places, "greedy", 200)
    second, waiting_too = await hold(places, "newcomer", 200)
    assert (len(first), len(second)) == (80, 9)
    for _ in range(60):
        places.give_back("greedy")
        await settle()
    got = sum(task.done() for task in waiting_too)
    assert len(second) + got == 43  # 8 / 17 of 90 for each of two: 42.4
    assert len(first) - 60 + sum(task.done() for task in waiting) == 42
    await call_off(*[task for task in (*waiting, *waiting_too) if not task.done()])


async def test_those_who_are_called_off_leave_their_places() -> None:
    places = Places(1)
    _, waiting = await hold(places, "a", 3)
    await call_off(waiting[0])
    places.give_back("a")  # to the other one that waits, which is called off before it has noticed
    await call_off(waiting[1])
    got, _ = await hold(places, "b", 1)
    assert len(got) == 1


async def test_a_place_that_comes_free_as_somebody_is_called_off_goes_to_the_next() -> None:
    places = Places(1)
    _, waiting = await hold(places, "a", 3)
    waiting[0].cancel()
    await asyncio.sleep(0)
    waiting[1].cancel()  # neither of them has noticed yet
    places.give_back("a")
    await call_off(*waiting)
    got, _ = await hold(places, "b", 1)
    assert len(got) == 1


async def test_places_are_crowded_where_somebody_waits_or_the_party_has_its_share() -> None:
    places, found = Places(9), []
    for name, before in (("a", 0), ("a", 8), ("b", 0), ("b", 1)):
        _, waiting = await hold(places, "a", before)
        with party(name):
            found.append(places.crowded)
    assert found == [False, True, False, True]
    await call_off(*waiting)


async def test_tasks_work_for_the_party_in_which_they_were_started() -> None:
    async def look() -> str:
        await asyncio.sleep(0)
        return current_party()

    with party("a"):
        task = asyncio.create_task(look())
    assert (await task, current_party()) == ("a", "")


MOVES = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["ask", "end", "call off"])), max_size=150)


@given(limit=st.integers(1, 30), moves=MOVES)
def test_the_division_is_fair_whatever_happens(limit: int, moves: list[tuple[str, str]]) -> None:
    asyncio.run(follow(limit, moves))


async def follow(limit: int, moves: list[tuple[str, str]]) -> None:
    places, asked = Places(limit), {name: list[asyncio.Task[str]]() for name in "abcd"}
    for name, move in moves:
        before = held(asked)
        if move == "ask":
            with party(name):
                asked[name].append(asyncio.create_task(places.take()))
        elif move == "end" and before[name]:
            asked[name].remove(next(task for task in asked[name] if task.done()))
            places.give_back(name)
        elif move == "call off" and len(asked[name]) > before[name]:
            called_off = next(task for task in asked[name] if not task.done())
            asked[name].remove(called_off)
            await call_off(called_off)
        await settle()
        now = held(asked)
        free = limit - sum(now.values())
        assert free >= 0
        for waiting in [who for who, tasks in asked.items() if len(tasks) > now[who]]:
            assert now[waiting] >= SHARE * free  # nobody waits for a place that it may have
            grown = [who for who in now if who != name and now[who] > before[who]]
            assert all(before[who] <= before[waiting] for who in grown)  # and those who hold less come first
    await call_off(*[task for tasks in asked.values() for task in tasks if not task.done()])


def held(asked: dict[str, list[asyncio.Task[str]]]) -> Counter[str]:
    return Counter({name: sum(task.done() for task in tasks) for name, tasks in asked.items()})


@pytest.mark.parametrize(("size", "step"), [(256, 1), (1, 1), (1_000_000, 1), (9000, 8)])
def test_a_party_that_is_alone_may_have_what_it_was_meant_to(size: int, step: int) -> None:
    portions = Portions.of_alone(size)
    while portions.may_take("a", step):
        portions.take("a", step)
    assert portions.held("a") == size
    portions.give_back("a", size)
    assert portions.held("a") == 0


def test_greedy_parties_get_equal_portions_and_leave_one_for_the_next() -> None:
    portions = Portions(129_000)
    for name in [number for _ in range(129_000) for number in range(16)]:
        if portions.may_take(name, 100):
            portions.take(name, 100)
    assert {portions.held(name) for name in range(16)} == {8000}
    assert portions.may_take("a newcomer", 800)
    assert not portions.may_take(0, 100)


def test_a_portion_that_is_larger_than_all_that_is_free_is_refused() -> None:
    assert not Portions(100).may_take("a", 101)
