"""The harnesses of broken networks, restarts and long runs, a few seconds each: that they run and see what happens."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from app.domain.rounds import Participation
from app.store.events import Event
from tests.harnesses import chaos, restarts, soak
from tests.harnesses.history import History
from tests.harnesses.proxy import Call, Mode, Proxy, Weather
from tests.store.samples import a_round

PATIENCE = 300.0  # for machines that are busy with something else


async def test_rounds_end_in_time_on_a_broken_network(tmp_path: Path) -> None:
    run = chaos.Run(agents=12, rounds=4, clients=8, evaluators=4, spell=(0.5, 3.0), patience=PATIENCE)
    outcome = await chaos.chaos(run, tmp_path / "chaos", None)
    # How late, and who fails: a machine that is busy with something else is no proof of anything.
    slow = ("after its deadline", "for no fault of its own", "at once while", "breaker had opened")
    assert [problem for problem in outcome.problems if not any(words in problem for words in slow)] == []
    assert outcome.history.rounds == 4
    assert {call.method for call in outcome.calls} >= {"PUT", "GET", "DELETE"}
    assert chaos.report(outcome, run, "sqlite", []).endswith("; ok")


async def test_no_update_is_lost_when_the_database_restarts(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        outcome = await restarts.restarts(count=1, full=1, full_seconds=0.5, directory=tmp_path / "restarts")
    assert outcome.problems == []
    assert outcome.acknowledged > 0
    assert len(outcome.ready) == len(outcome.going_on) == 1
    assert restarts.report(outcome, []).endswith("ok, none lost")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc on this machine")
async def test_a_server_is_measured_from_outside(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        outcome = await soak.soak(seconds=4, every=0.5, directory=tmp_path / "soak", database=None)
    assert outcome.problems == []
    assert len(outcome.samples) >= 2
    last = outcome.samples[-1]
    assert last.memory > 10
    assert last.descriptors > 3
    assert last.threads >= 1
    assert last.rows["clients"] == soak.AGENTS
    assert soak.report(outcome, "sqlite", []).endswith("; ok")


def sampled(*memory: float, descriptors: tuple[int, ...] = ()) -> soak.Outcome:
    """One sample a minute."""
    return soak.Outcome(
        samples=[
            soak.Sample(
                at=60.0 * minute,
                memory=used,
                private=used,
                descriptors=descriptors[minute] if descriptors else 10,
                threads=5,
                connections=2,
                files=1,
                rows={"events": 100 * minute},
            )
            for minute, used in enumerate(memory)
        ]
    )


def test_slopes_are_fitted_after_the_warm_up() -> None:
    outcome = sampled(0, 50, 90, *(100 + minute / 2 for minute in range(8)))  # three of ten minutes: from 100 on
    assert outcome.slope("memory") == pytest.approx(0.5)
    assert outcome.rows_a_minute("events") == pytest.approx(100.0)
    assert soak.growing(outcome) == []


def test_what_grows_is_told() -> None:
    assert soak.growing(sampled(*range(100, 122, 2))) == ["memory grows by 2.00 MiB a minute"]
    leak = sampled(*[100] * 10, descriptors=tuple(range(10, 20)))
    assert soak.growing(leak) == ["+5 descriptors from the first to the last third"]  # from 13 and 14 to 18 and 19


def a_call(method: str, began: float, ended: float, task: str = "t.1.c-0.fit") -> Call:
    path = f"/agents/c-0/tasks/{task}"
    return Call(client_id="c-0", method=method, path=path, mode="pass", began=began, ended=ended)


@pytest.mark.parametrize(
    ("calls", "at_once"),
    [
        ([], 0),
        ([a_call("PUT", 10, 12), a_call("GET", 12, 20)], 1),
        ([a_call("PUT", 10, 12), a_call("PUT", 10.2, 15)], 2),
        ([a_call("GET", 10, 12), a_call("GET", 11.8, 15)], 1),  # a hand-over within the slack
    ],
)
def test_calls_that_overlap_are_counted(calls: list[Call], at_once: int) -> None:
    assert chaos._at_once(calls) == at_once


def changed(at: float, state: str) -> Event:
    return Event(id=int(at), at=at, type=f"breaker.{state}", training_id=None, round=None, client_id="c-0", data={})


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (a_call("GET", 99.0, 101.0), None),
        (a_call("GET", 100.2, 101.0), None),  # it was under way already
        (a_call("GET", 101.0, 102.0), "GET /agents/c-0/tasks/t.1.c-0.fit 1.00 s after c-0's breaker had opened"),
        (a_call("DELETE", 101.0, 102.0), "DELETE /agents/c-0/tasks/t.1.c-0.fit 1.00 s after c-0's breaker had opened"),
        (a_call("PUT", 131.0, 139.0), "2 calls at once while c-0's breaker was half-open"),
        (a_call("DELETE", 131.0, 139.0), None),
        (a_call("PUT", 141.0, 149.0), None),
    ],
)
def test_calls_are_held_against_the_states_of_breakers(call: Call, problem: str | None) -> None:
    outcome = chaos.Outcome(
        history=History({}, {}, {}),
        calls=[call, a_call("PUT", 130.5, 139.0, "t.2.c-0.fit")],
        events=[changed(100, "open"), changed(130, "half_open"), changed(140, "closed")],
    )
    chaos._judge_calls(outcome)
    assert outcome.problems == ([] if problem is None else [problem])


@pytest.mark.parametrize(
    ("fields", "attempts", "problem"),
    [
        ({"ended_at": 160.9}, [1, 1, 2], None),
        ({"ended_at": 161.5}, [1, 1, 1], "ended 1.50 s after its deadline"),
        ({"ended_at": None}, [1, 1, 1], "has not ended"),
        ({"ended_at": 160.0}, [1, 2, 2], "made 5 attempts for 3 clients"),  # 3 and a fifth of 3, rounded up
        ({"ended_at": 160.0}, [0, 1, 2], None),  # one of the three was never handed over
    ],
)
def test_rounds_are_held_against_their_deadline_and_their_budget(
    fields: dict[str, float | None], attempts: list[int], problem: str | None
) -> None:
    parts = tuple(Participation(client_id=f"c-{number}", attempts=count) for number, count in enumerate(attempts))
    outcome = chaos.Outcome(history=History({}, {}, {}), calls=[], events=[])
    chaos._judge_rounds(outcome, [a_round("t", 1, deadline_at=160.0, participations=parts, **fields)])
    assert outcome.problems == ([] if problem is None else [f"round t/1 {problem}"])


def test_an_update_that_nobody_has_sent_is_told() -> None:
    def part(client_id: str, update: str) -> Participation:
        return Participation(client_id=client_id, status="received", update=update)

    calls = [
        replace(a_call("GET", 1, 2), answer="whole"),
        replace(a_call("GET", 3, 4), answer="sent", flipped="body", corrupted="flipped"),
        replace(a_call("GET", 5, 6), answer="kept", flipped="head", corrupted="kept"),
    ]
    outcome = chaos.Outcome(history=History({}, {}, {}), calls=calls, events=[])
    rounds = [
        a_round("t", number, participations=(part("c-0", update),))
        for number, update in enumerate(["whole", "flipped", "kept", "sent", "else"], 1)
    ]
    chaos._judge_updates(outcome, rounds)
    assert outcome.corrupted == 2
    assert outcome.taken == 1
    assert outcome.problems == [f"round {number}: nobody has sent the update of c-0" for number in (4, 5)]


BODY = b"0123456789" * 100


@asynccontextmanager
async def behind(mode: Mode) -> AsyncIterator[tuple[httpx.AsyncClient, list[Call]]]:
    """A client of a small server behind a proxy in this mode."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        writer.close()

    record: list[Call] = []
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    proxy = Proxy("c-0", server.sockets[0].getsockname()[:2], random.Random(1), record)  # noqa: S311  (chance)
    await proxy.set_mode(mode)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}", trust_env=False, timeout=10) as client:
            yield client, record
    finally:
        await proxy.close()
        server.close()


async def test_a_proxy_that_is_clear_changes_nothing_and_keeps_a_record() -> None:
    async with behind("pass") as (client, record):
        for path in ("/a", "/b"):
            assert (await client.get(path)).content == BODY
    assert [(call.method, call.path, call.flipped) for call in record] == [("GET", "/a", None), ("GET", "/b", None)]
    assert all(call.ended is not None and call.ended >= call.began for call in record)


@pytest.mark.parametrize("mode", ["refuse", "reset", "cut"])
async def test_a_proxy_breaks_off(mode: Mode) -> None:
    async with behind(mode) as (client, record):
        with pytest.raises(httpx.TransportError):
            await client.get("/a")
    assert len(record) == (0 if mode == "refuse" else 1)


async def test_a_proxy_hangs() -> None:
    async with behind("hang") as (client, record):
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/a", timeout=0.2)
    assert record[0].ended is not None


async def test_a_proxy_is_slow() -> None:
    loop = asyncio.get_running_loop()
    async with behind("slow") as (client, _):
        began = loop.time()
        assert (await client.get("/a")).content == BODY
        assert loop.time() - began > 0.5


async def test_a_proxy_flips_one_bit() -> None:
    async with behind("corrupt") as (client, record):
        await client.get("/a")
        sent = int.from_bytes(BODY)
        got = (await client.get("/a")).content
    assert record[1].flipped == "body"
    assert (int.from_bytes(got) ^ sent).bit_count() == 1
    assert record[1].corrupted != record[1].answer


async def test_the_weather_changes_for_the_faulty_ones_alone() -> None:
    record: list[Call] = []
    proxies = {name: Proxy(name, ("127.0.0.1", 9), random.Random(1), record) for name in ("a", "b")}  # noqa: S311
    seen: set[Mode] = set()
    weather = Weather(proxies=proxies, rng=random.Random(1), faulty=frozenset("a"), spell=(0.001, 0.002))  # noqa: S311
    changing = asyncio.create_task(weather.run())
    try:
        async with asyncio.timeout(PATIENCE):
            while len(seen) < 8:
                seen.add(proxies["a"].mode)
                await asyncio.sleep(0.001)
    finally:
        changing.cancel()
        await asyncio.wait([changing])
        for proxy in proxies.values():
            await proxy.close()
    assert proxies["b"].mode == "pass"
