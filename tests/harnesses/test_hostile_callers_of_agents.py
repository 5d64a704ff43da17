"""Calls of the hostile harness to honest agents fail because of their signatures, and for no other reason."""

from collections.abc import AsyncIterator

import pytest

from tcsfeel.agent import Signing, hosting
from tcsfeel.identity import Identity
from tests.harnesses.fleet import Learner
from tests.harnesses.hostile.intruders import calling_agent
from tests.harnesses.hostile.signing import HONEST_TOKEN
from tests.harnesses.hostile.sockets import Kind, Target, connected

NAME = "s-honest-0"
TASK = f"/agents/{NAME}/tasks/t.1.{NAME}.fit"
SEED = bytes(range(32))


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    device = Identity.make()
    keys = {"agent's public key": device.public_key, "seed of the server": SEED.hex()}
    signings = {NAME: Signing(device, Identity(SEED).public_key)}
    fleet = {NAME: Learner(0, seconds=0.0)}
    async with hosting(fleet, server_url=None, tokens={NAME: HONEST_TOKEN}, signings=signings) as hosted:
        yield Target("127.0.0.1", 0, keys, lambda *_: None, agents=int(hosted.url.rsplit(":", 1)[1]))


async def answers(kind: Kind, target: Target) -> list[str]:
    async with connected(target.host, target.agents, "127.0.0.1") as line:
        await kind.attack(line, target)
        return [(await line.answer())[0] for _ in range(kind.reads)]


async def test_an_agent_takes_the_call_of_its_control_plane_once(target: Target) -> None:
    assert await answers(calling_agent("DELETE", TASK, signer="server"), target) == ["204"]
    assert await answers(calling_agent("DELETE", TASK, signer="server", times=2), target) == ["204", "401"]


@pytest.mark.parametrize(
    "kind",
    [
        calling_agent("DELETE", TASK),
        calling_agent("DELETE", TASK, signer="stranger"),
        calling_agent("DELETE", TASK, signer="server", age=3600.0),
    ],
    ids=["unsigned", "by a stranger", "expired"],
)
async def test_an_agent_refuses_a_call_for_its_signature(target: Target, kind: Kind) -> None:
    assert await answers(kind, target) == ["401"]
