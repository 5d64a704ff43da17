"""Let agents leave, come back, move, and appear twice."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.harnesses.troubles.stage import Fleet, Trouble, fleet, stage

SHORT = 3.9  # seconds, which were once enough for three abandoned rounds and a training that had failed


async def leave(directory: Path, url: str) -> Mapping[str, float]:
    """Let all agents leave for so long that their absence is noticed, and come back."""
    async with stage(directory, url) as at, fleet(at.server) as agents:
        path = await at.train()
        await agents.leave()
        await at.tells("says who is away", path, "c-0", "c-1", "c-2")
        await agents.come()
        await at.goes_on(path, "goes on when they are back")
        return at.took


async def leave_for_a_moment(directory: Path, url: str) -> Mapping[str, float]:
    """Let all agents leave for four seconds."""
    async with stage(directory, url) as at, fleet(at.server) as agents:
        path = await at.train()
        await agents.leave()
        await asyncio.sleep(SHORT)
        await agents.come()
        await at.goes_on(path, "goes on when they are back")
        return at.took


async def move(directory: Path, url: str) -> Mapping[str, float]:
    """Move the agents to another port in the middle of their tasks. They register with it."""
    async with stage(directory, url) as at, fleet(at.server, seconds=1.0) as agents:
        path = await at.train(round_policy={"deadline_seconds": 60, "quorum": 1.0})
        before = (await at.get(f"{path}/rounds?limit=1"))["items"][0]["number"]
        await agents.move()
        await at.goes_on(path, "goes on at the new port")
        rounds = (await at.get(f"{path}/rounds?limit=100"))["items"]
        if lost := [round_ for round_ in rounds if round_["number"] >= before and round_["status"] == "abandoned"]:
            raise Trouble(f"round {lost[0]['number']} was abandoned: {lost[0]['failure_reason']}")
        return at.took


async def double(directory: Path, url: str) -> Mapping[str, float]:
    """Run two devices with the same id that both send heartbeats. Then the one that registered last leaves."""
    async with stage(directory, url) as at, fleet(at.server):
        path = await at.train()
        other = Fleet(at.server)
        await other.come()
        try:

            async def told() -> bool:
                found: Any = await at.get("/v1/clients")
                return found is not None and all(item.get("conflict") for item in found["items"])

            await at.until("says that ids are there twice", told, "no client shows a conflict")
        finally:
            await other.leave()
        await at.tells("says whom it cannot reach", path, "the agent could not be reached")
        return at.took
