"""The harness of addresses works in a run of a few seconds, and finds a connection that must not be."""

import asyncio
from pathlib import Path

from tests.harnesses.ssrf import canaries
from tests.harnesses.ssrf.attempt import REFUSALS, Outcome, attempt
from tests.harnesses.ssrf.resolver import ALLOWED


async def test_no_form_of_a_forbidden_address_is_connected_to(tmp_path: Path) -> None:
    outcome = await attempt(tmp_path, None, allowed=[f"{ALLOWED}/32"])
    assert outcome.problems() == []
    assert outcome.forms >= 90
    assert len(outcome.at_call) >= 90  # the others were refused when they were registered
    assert outcome.at_creation.keys() == outcome.at_registration.keys()
    assert outcome.at_delivery.keys() == outcome.at_call.keys()


async def test_a_connection_to_a_canary_is_found() -> None:
    async with canaries.listening(["127.0.0.1"]) as canary:
        _, writer = await asyncio.open_connection("127.0.0.1", canary.port)
        await canary.arrival.wait()
        writer.close()
        await writer.wait_closed()
    assert Outcome(connections=canary.connections).problems() == ["1 connections arrived at 127.0.0.1"]


def test_a_call_that_is_not_refused_for_its_address_is_found() -> None:
    outcome = Outcome(
        at_call={"http://127.1:9": "the agent could not be reached", f"http://{ALLOWED}:9": "agents may n"},
        at_delivery={"http://127.1:9": "it took the event", f"http://{ALLOWED}:9": REFUSALS[0]},
    )
    assert [problem.partition(",")[0] for problem in outcome.problems()] == [
        "'http://127.1:9' ended with 'the agent could not be reached'",
        f"'http://{ALLOWED}:9' ended with 'agents may n'",
        "'http://127.1:9' ended with 'it took the event'",
        "the receiver that is allowed got no event",
        "the agent that is allowed was not called",
    ]
