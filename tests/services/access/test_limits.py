"""How often a caller may call, over all servers together, and how many of its calls are answered at once."""

import asyncio
from contextlib import ExitStack

import pytest

from app.domain.errors import LimitReached
from app.services.access.limits import Caller, CallerLimits
from app.settings import LimitSettings
from app.store.database import Database
from tests.store.statements import statements

SETTINGS = LimitSettings(
    requests_per_second=10,
    agent_requests_per_second=2,
    address_requests_per_second=5,
    concurrent_requests=3,
    agent_concurrent_requests=2,
)
KEY, OTHER, DEVICE, ADDRESS = Caller("key", "a"), Caller("key", "b"), Caller("agent", "a"), Caller("address", "a")


class Hand:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


def send(limits: CallerLimits, caller: Caller, calls: int) -> int:
    """Send calls, and count those that pass."""
    passed = 0
    for _ in range(calls):
        try:
            with limits.admitted(caller):
                passed += 1
        except LimitReached:
            pass
    return passed


def test_each_caller_has_the_rate_of_its_kind(sqlite: Database, hand: Hand) -> None:
    limits = CallerLimits(sqlite, SETTINGS, server="one", clock=hand)
    assert [send(limits, caller, 200) for caller in (KEY, OTHER, DEVICE, ADDRESS)] == [100, 100, 20, 50]
    hand.now += 2
    assert [send(limits, caller, 200) for caller in (KEY, OTHER, DEVICE, ADDRESS)] == [20, 20, 4, 10]


@pytest.mark.parametrize(
    ("caller", "who", "setting"),
    [
        (KEY, "this key has sent more calls than 10", "REQUESTS_PER_SECOND"),
        (DEVICE, "this device has sent more calls than 2", "AGENT_REQUESTS_PER_SECOND"),
        (ADDRESS, "this address has sent more calls than 5", "ADDRESS_REQUESTS_PER_SECOND"),
    ],
)
def test_a_refusal_names_the_limit_and_when_to_come_again(
    sqlite: Database, hand: Hand, caller: Caller, who: str, setting: str
) -> None:
    limits = CallerLimits(sqlite, SETTINGS, server="one", clock=hand)
    send(limits, caller, 200)
    with pytest.raises(LimitReached) as refused, limits.admitted(caller):
        pass
    assert str(refused.value) == (f"{who} a second; the limit is set by TCSFEEL_LIMITS__{setting}")
    hand.now += refused.value.retry_after or 0.0
    assert send(limits, caller, 1) == 1


def test_few_calls_of_a_caller_are_answered_at_once(sqlite: Database, hand: Hand) -> None:
    limits = CallerLimits(sqlite, SETTINGS, server="one", clock=hand)
    for caller, most, setting in ((KEY, 3, "CONCURRENT_REQUESTS"), (DEVICE, 2, "AGENT_CONCURRENT_REQUESTS")):
        with ExitStack() as stack:
            for _ in range(most):
                stack.enter_context(limits.admitted(caller))
            refusal = f"^this .* has sent more than {most} calls that .* set by TCSFEEL_LIMITS__{setting}$"
            with pytest.raises(LimitReached, match=refusal), limits.admitted(caller):
                pass
            assert send(limits, OTHER, 1) == 1
        assert send(limits, caller, 1) == 1


def test_a_call_that_fails_gives_its_place_back(sqlite: Database, hand: Hand) -> None:
    limits = CallerLimits(sqlite, SETTINGS, server="one", clock=hand)
    for _ in range(4):
        with pytest.raises(ZeroDivisionError), limits.admitted(KEY):
            raise ZeroDivisionError
    assert send(limits, KEY, 1) == 1


async def test_servers_share_the_rate_of_a_caller(db: Database, hand: Hand) -> None:
    servers = [CallerLimits(db, SETTINGS, server=name, clock=hand) for name in ("one", "two", "three")]
    for server in servers:
        send(server, KEY, 200)
    passed = []
    for _ in range(20):
        hand.now += 1
        for server in servers:
            await server.share()
        passed.append(sum(send(server, KEY, asked) for server, asked in zip(servers, (30, 20, 10), strict=True)))
    assert sum(passed[5:]) == pytest.approx(10 * 15, abs=3)


async def test_a_caller_gets_all_of_its_rate_at_one_server_when_it_has_left_the_others(
    db: Database, hand: Hand
) -> None:
    servers = [CallerLimits(db, SETTINGS, server=name, clock=hand) for name in ("one", "two")]
    for server in servers:
        send(server, KEY, 200)
    hand.now += 1
    for server in [*servers, servers[0]]:
        await server.share()
    send(servers[0], KEY, 200)
    for _ in range(2):
        hand.now += 1
        for server in servers:
            await server.share()
        send(servers[0], KEY, 200)
    hand.now += 1
    assert send(servers[0], KEY, 200) == 10


async def test_callers_that_call_rarely_cost_no_statement(sqlite: Database, hand: Hand) -> None:
    limits = CallerLimits(sqlite, SETTINGS, server="one", clock=hand)
    with statements() as sent:
        for second in range(3):
            hand.now += 10
            for number in range(100):
                assert send(limits, Caller("agent", f"{second}-{number}"), 1) == 1
            await limits.share()
    assert sent == []
    assert limits._used_up.keys() == {Caller("agent", f"2-{number}") for number in range(100)}
    hand.now += 10
    await limits.share()
    assert not limits._used_up


async def test_without_the_database_each_server_goes_on_alone(blank_database_url: str, hand: Hand) -> None:
    db = Database(blank_database_url)
    limits = CallerLimits(db, SETTINGS, server="one", clock=hand)
    send(limits, KEY, 200)
    hand.now += 1
    running = asyncio.create_task(limits.run())
    with pytest.raises(Exception, match="request_rates"):
        await limits.share()
    assert send(limits, KEY, 200) == 10
    running.cancel()
    await asyncio.wait([running])
    await db.dispose()
