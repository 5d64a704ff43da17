"""Run the attackers, the quiet fleet and a good caller in processes of their own.

Attackers have a low priority, because their own cost must not count as the cost of the server.

`agents` writes the port of the hostile agents to a file. `callers` attacks until it is stopped. Then it writes what it
saw to a file: a JSON object with counts by caller and by what was seen, with the Retry-After after a 503.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx2

from tests.harnesses.hostile.agents import ALL, ENROLLED
from tests.harnesses.hostile.exchange import serve
from tests.harnesses.hostile.fleets import BEAT_SECONDS, train_quietly
from tests.harnesses.hostile.kinds import CALLERS, address_of
from tests.harnesses.hostile.placement import NICE
from tests.harnesses.hostile.signing import KNOWN, devices
from tests.harnesses.hostile.sockets import Target, go_on

ASK_SECONDS = 0.05


def agents() -> None:
    """Run as ``agents FILE``."""
    os.nice(NICE)
    KNOWN.update(devices(ENROLLED))
    asyncio.run(_serve(Path(sys.argv[1])))


async def _serve(file: Path) -> None:
    server = await serve(ALL)
    file.write_text(str(server.sockets[0].getsockname()[1]))  # noqa: ASYNC240  (a few bytes)
    await server.serve_forever()


def callers() -> None:
    """Run as ``callers HOST PORT FILE NAMES HONEST AGENTS TRAINING…``, with the keys in the environment.

    NAMES are those of the callers, and AGENTS those of the hostile agents for which heartbeats are sent, with commas
    between them. HONEST is the port of the honest agents.
    """
    os.nice(NICE)
    host, port, file, names, honest, agents, *trainings = sys.argv[1:]
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def tell(name: str, what: str, after: str) -> None:
        seen[name][f"{what} {after}" if what == "503" and after else what] += 1

    target = Target(host, int(port), json.loads(os.environ["TCSFEEL_KEYS"]), tell, trainings, int(honest))
    asyncio.run(_until_told(_attack(target, names.split(","), agents.split(","))))
    Path(file).write_text(json.dumps(seen))


async def _attack(target: Target, names: list[str], agents: list[str]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_beat(target, agents))
        for name in names:
            group.create_task(go_on(name, CALLERS[name], target, address_of(name)))


async def _beat(target: Target, agents: list[str]) -> None:
    """Send heartbeats for the hostile agents, except for those that are hostile when they are probed."""
    headers = {"Authorization": f"Bearer {target.keys['operator']}"}
    async with httpx2.AsyncClient(base_url=f"http://{target.host}:{target.port}", headers=headers, timeout=30.0) as api:
        while True:
            for name in agents:
                if not name.startswith("p-"):
                    with contextlib.suppress(httpx2.TransportError):
                        await api.post(f"/v1/clients/{name}/heartbeat")
            await asyncio.sleep(BEAT_SECONDS)


def quiet() -> None:
    """Run as ``quiet URL STATE``, with the invitation in the environment."""
    url, state = sys.argv[1:]
    asyncio.run(_until_told(train_quietly(url, os.environ["TCSFEEL_INVITATION"], Path(state))))


def asking() -> None:
    """Run as ``asking URL FILE``, with the key in the environment."""
    url, file = sys.argv[1:]
    asyncio.run(_until_told(_ask(url, os.environ["TCSFEEL_KEY"], Path(file))))


async def _ask(url: str, key: str, file: Path) -> None:
    """Read a client again and again, like a dashboard, over one connection."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30.0, trust_env=False) as api:
        with file.open("w") as out:
            while True:
                at, began = time.time(), time.monotonic()
                try:
                    good = (await api.get("/v1/clients/q-0")).is_success
                except httpx2.TransportError:
                    good = False
                print(f"{at:.3f}", time.monotonic() - began if good else "inf", file=out)
                await asyncio.sleep(ASK_SECONDS)


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    working = asyncio.create_task(work)
    await ended.wait()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
