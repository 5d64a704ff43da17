"""Readers and webhooks get each event although the replica that serves them is killed, and a miss is seen."""

import asyncio
from pathlib import Path

from tests.harnesses.readers.following import Reader, Receiver
from tests.harnesses.readers.judgement import Outcome, judge
from tests.harnesses.readers.run import Run, follow

PATIENCE = 300.0  # for machines that are busy with something else
SHORT = Run(readers=12, webhooks=2, clients=3, evaluators=1, fit_seconds=0.1, windows=0, kills=1, lease_seconds=1.0)
SLOW = "the database does not answer"  # a machine that is busy with something else is no proof of anything


async def test_nobody_misses_an_event_when_a_replica_dies(postgres_server: str, tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        outcome = await follow(SHORT, tmp_path, postgres_server)
    assert [problem for problem in outcome.problems if SLOW not in problem] == []
    assert outcome.kills == 1
    assert outcome.events > 10
    assert outcome.connections > SHORT.readers  # those of the replica that died connected again


def test_what_was_missed_doubled_or_must_not_come_is_told() -> None:
    log = [(1, "round.started"), (2, "webhook.created"), (3, "round.planned")]
    readers = [Reader([1], "key", ids=ids) for ids in ([1, 2, 3, 4], [1, 3], [1, 2, 2, 3])]
    readers[0].refused["503"] = 2
    receivers = [Receiver(), Receiver(wrong=["event 1 is not signed"])]
    receivers[0].came.update({1: 2, 3: 1})
    receivers[1].came.update({1: 1})
    judge(log, readers, receivers, outcome := Outcome())
    assert outcome.problems == [
        "reader 0 was answered 503, 2 times",
        "reader 1 missed [2] (1 in all), and got 0 twice",
        "reader 2 missed [] (0 in all), and got 1 twice",
        "webhook 1 missed [3] (1 in all)",
        "event 1 is not signed",
    ]
    assert outcome.doubled == 1
