"""Step the clock of the server's machine."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.harnesses.troubles.stage import Trouble, fleet, stage

HOUR = 3600
SOURCE = Path(__file__).with_name("clock.c")


async def _stepped(directory: Path) -> tuple[dict[str, str], Path]:
    """Return the environment of a server whose clock is moved by a file, and this file."""
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (a file or two)
    library, file = directory / "clock.so", directory / "clock"
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Trouble("there is no C compiler on this machine, which the stepped clock needs")
    process = await asyncio.create_subprocess_exec(
        compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"
    )
    if await process.wait():
        raise Trouble("the stepped clock does not compile")
    file.write_text("0")
    return {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(file)}, file


async def steps_back(directory: Path, url: str) -> Mapping[str, float]:
    """Step an hour back while rounds run."""
    return await _steps(directory, url, -HOUR)


async def steps_forward(directory: Path, url: str) -> Mapping[str, float]:
    """Step an hour forward while rounds run."""
    return await _steps(directory, url, HOUR)


async def _steps(directory: Path, url: str, seconds: int) -> Mapping[str, float]:
    environment, file = await _stepped(directory)
    async with stage(directory, url, **environment) as at, fleet(at.server):
        path = await at.train()
        file.write_text(str(seconds))
        await at.goes_on(path, "goes on behind the step")
        return at.took


async def steps_back_across_a_restart(directory: Path, url: str) -> Mapping[str, float]:
    """Step an hour back while the server is down. It was killed, so its lease has not been given back."""
    environment, file = await _stepped(directory)
    async with stage(directory, url, **environment) as at, fleet(at.server):
        path = await at.train()
        at.server.kill()
        file.write_text(str(-HOUR))
        await at.server.start()
        await at.goes_on(path, "goes on behind the restart")
        return at.took


async def dead_clients_are_noticed(directory: Path, url: str) -> Mapping[str, float]:
    """Step an hour back, and let the agents leave."""
    environment, file = await _stepped(directory)
    async with stage(directory, url, **environment) as at, fleet(at.server) as agents:
        await at.train()
        file.write_text(str(-HOUR))
        await asyncio.sleep(1.0)
        await agents.leave()

        async def noticed() -> bool:
            found = await at.get("/v1/clients")
            return found is not None and all(item["status"] != "healthy" for item in found["items"])

        await at.until("clients that left are not healthy", noticed, "clients that left are still healthy")
        await agents.come()
        return at.took


async def stays_away_no_longer_than_it_is(directory: Path, url: str) -> Mapping[str, float]:
    """Step an hour forward and back again. Nothing may wait until the hour has passed."""
    environment, file = await _stepped(directory)
    async with stage(directory, url, **environment) as at, fleet(at.server):
        path = await at.train()
        file.write_text(str(HOUR))
        await at.goes_on(path, "goes on behind the step forward")
        file.write_text("0")
        await at.goes_on(path, "goes on behind the step back")
        return at.took
