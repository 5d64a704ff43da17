"""Fill the disk, let descriptors and memory run out, and use a directory that cannot be written to."""

import asyncio
import resource
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.servers import Server
from tests.harnesses.troubles.stage import NEVER, Trouble, fleet, stage

ROOM = 12 << 20  # bytes that a file may have, fewer than a model and more than a small database
HEADROOM = 4 << 20  # bytes of address space in addition to what is used, fewer than a model
WIDE = 4_000_000  # floats of a model for which there is not enough memory


@asynccontextmanager
async def _limited(server: Server, kind: int, limit: int) -> AsyncIterator[None]:
    """Lower a limit of the server's process in the block."""
    before = resource.prlimit(server.pid, kind)
    resource.prlimit(server.pid, kind, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.pid, kind, before)


def _address_space(server: Server) -> int:
    """Return the bytes that a process has mapped."""
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[0]) * resource.getpagesize()


async def full_disk(directory: Path, url: str) -> Mapping[str, float]:
    """Leave no room for models for some time. The training has to say so, and to continue when there is room."""
    async with stage(directory, url) as at, fleet(at.server, floats=WIDE):
        path = await at.train()
        async with _limited(at.server, resource.RLIMIT_FSIZE, ROOM):
            await at.tells("says that files cannot be written", path, "too large", "no space", "cannot be written")
        await at.goes_on(path, "goes on with room")
        return at.took


async def full_disk_for_good(directory: Path, url: str) -> Mapping[str, float]:
    """Leave no room for models any more. The round has to end with the reason."""
    async with stage(directory, url) as at, fleet(at.server, floats=WIDE):
        policy = {"deadline_seconds": 60, "quorum": 1.0, "max_wait_seconds": 3}
        path = await at.train(round_policy=policy)
        async with _limited(at.server, resource.RLIMIT_FSIZE, ROOM):

            async def ended() -> bool:
                rounds = await at.get(f"{path}/rounds?limit=3")
                ends = [] if rounds is None else rounds["items"]
                return any(value["status"] == "abandoned" and value["failure_reason"] for value in ends)

            await at.tells("says that files cannot be written", path, "too large", "no space", "cannot be written")
            await at.until("the round is abandoned", ended, "no round was abandoned with a reason")
        return at.took


async def database_without_room(directory: Path, url: str) -> Mapping[str, float]:
    """Leave no room even for the database, if it is a file. ``/readyz`` has to say so."""
    async with stage(directory, url) as at, fleet(at.server):
        path = await at.train()
        async with _limited(at.server, resource.RLIMIT_FSIZE, 1 << 14):
            await at.tells("says what cannot be written", path, "disk", "too large", "cannot be written")
        await at.goes_on(path, "goes on with room")
        return at.took


async def no_descriptors(directory: Path, url: str) -> Mapping[str, float]:
    """Leave no descriptor for files and connections for some time."""
    async with stage(directory, url) as at, fleet(at.server):
        path = await at.train()
        used = len(list(Path(f"/proc/{at.server.pid}/fd").iterdir()))  # noqa: ASYNC240  (a look at the kernel)
        lines = at.server.log.read_text().count("\n")
        async with _limited(at.server, resource.RLIMIT_NOFILE, used - 5):
            await asyncio.sleep(5.0)
        await at.goes_on(path, "goes on with descriptors")
        written = at.server.log.read_text().count("\n") - lines
        if written > 1000:
            raise Trouble(f"the log got {written} lines in 5 s without descriptors")
        return at.took


async def no_memory(directory: Path, url: str) -> Mapping[str, float]:
    """Leave too little memory for a model for some time."""
    async with stage(directory, url) as at, fleet(at.server, floats=WIDE):
        path = await at.train()
        used = _address_space(at.server)
        async with _limited(at.server, resource.RLIMIT_AS, used + HEADROOM):
            await at.tells("says that memory is short", path, "memory", "allocate")
        await at.goes_on(path, "goes on with memory")
        return at.took


async def no_place_to_write(directory: Path, url: str) -> Mapping[str, float]:
    """Start a server whose data directory cannot be made. It has to end and name the directory."""
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (a file or two)
    (directory / "data").write_text("a file where the directory should be")
    server = Server(directory, url)
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(NEVER):
            await server.start()
    except AssertionError as error:
        if "data" not in str(error) or "Traceback" in str(error):
            raise Trouble(f"it ended without a word about its directory: {error}") from error
        return {"does not start": asyncio.get_running_loop().time() - began}
    except TimeoutError:
        pass
    finally:
        server.kill()
    raise Trouble("it neither starts nor ends")
