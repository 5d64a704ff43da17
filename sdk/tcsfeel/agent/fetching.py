"""Fetch the parameters of a task by the URL that the control plane names, and put its result at another one.

The URL is signed, so it is a secret: errors do not have its query. The request has no key, and follows no redirect.
After a fetch that failed, tasks come with their parameters for some time, and the control plane is told why.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import httpx2

from tcsfeel.agent.connecting import connected
from tcsfeel.agent.entries import Entry, Outcome
from tcsfeel.agent.errors import FetchFailed
from tcsfeel.rest.downloads import Download
from tcsfeel.rest.exchange import Patience, Request, Steps
from tcsfeel.rest.problems import Refused
from tcsfeel.rest.tasks import sliced
from tcsfeel.rest.transport import AsyncTransport
from tcsfeel.text import plain
from tcsfeel.wire.codec import Parameters, decode
from tcsfeel.wire.digests import digest_of
from tcsfeel.wire.resuming import NO, YES
from tcsfeel.wire.tasks import BY_URL, Source, read_source

PAUSE_SECONDS = 600.0
Fetch = Callable[[Entry], Awaitable[Parameters | Outcome]]
"""Fetches the parameters of a task, or says how it has ended without them."""

_log = logging.getLogger(__name__)
# httpx2 tells of each call at INFO, with its URL; a presigned URL is a secret.
logging.getLogger("httpx2").addFilter(lambda record: record.levelno > logging.INFO)


class Fetching:
    """Fetches for the agents of one process.

    Args:
        ca_file: authorities (PEM) with which the host is checked, in place of those of the system.
        clock: monotonic seconds.
    """

    def __init__(self, ca_file: Path | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ca_file = ca_file
        self._clock = clock
        self._paused_until = clock()
        self._reason = ""

    @property
    def said(self) -> dict[str, str]:
        """The header that says whether a task may name the URL of its parameters, or why not at present."""
        return {BY_URL: f'{NO};reason="{self._reason}"' if self._clock() < self._paused_until else YES}

    def of(self, metadata: Mapping[str, str], most: int) -> Fetch | None:
        """Return what fetches the parameters of a task; None if they come with it. Raises `MalformedMetadata`."""
        source = read_source(metadata)
        return None if source is None else partial(self._fetched, source, most)

    async def _fetched(self, source: Source, most: int, entry: Entry) -> Parameters | Outcome:
        """Fetch the parameters of a task, whose file may have `most` bytes, or say how the task has ended."""
        fetching = asyncio.create_task(_file(source, most, self._ca_file))
        try:
            await entry.unless_settled(fetching)
            return decode(fetching.result())[0] if fetching.done() else Outcome("lost")
        except Exception as error:  # noqa: BLE001  (whatever it is, the parameters can come with the task)
            self._pause(error)
            _log.warning("the parameters of task %s could not be fetched: %s", entry.task.id, self._reason)
            return Outcome("lost", failure=f"its parameters could not be fetched: {self._reason}")
        finally:
            fetching.cancel()

    async def put(self, task_id: str, url: str, pieces: Sequence[bytes | memoryview]) -> bool:
        """Put the pieces of a result at a URL. Returns False if it has to go through the control plane."""
        size = str(sum(map(len, pieces)))
        try:
            await _run(
                url,
                lambda where: _sent(Request("PUT", where, headers={"Content-Length": size}, body=sliced(pieces))),
                self._ca_file,
            )
        except Exception as error:  # noqa: BLE001  (as above)
            self._pause(error)
            _log.warning("the result of task %s goes through the control plane: %s", task_id, self._reason)
            return False
        return True

    def _pause(self, error: Exception) -> None:
        said = f"the host answered {error.status}" if isinstance(error, Refused) else str(error).partition("?")[0]
        self._reason = plain(said, 150).encode("ascii", "replace").decode().translate({34: "'", 92: "/"})
        self._paused_until = self._clock() + PAUSE_SECONDS


async def _file(source: Source, most: int, ca_file: Path | None) -> memoryview:
    if source.size > most:
        raise FetchFailed(f"the file has {source.size} bytes, at most {most} are allowed")
    download = Download(source.size)
    await _run(source.url, lambda where: download.whole(where, {}), ca_file)
    if (await asyncio.to_thread(digest_of, [download.body])).hex() != source.sha256:
        raise FetchFailed("the file has other bytes than the control plane says")
    return download.body


async def _run(url: str, steps: Callable[[str], Steps[None]], ca_file: Path | None) -> None:
    """Make a call of the path of a URL at its host, without a key."""
    of = httpx2.URL(url)
    async with connected(f"{of.scheme}://{of.netloc.decode()}", None, ca_file) as http:
        await AsyncTransport(http, Patience(attempts=3)).run(steps(of.raw_path.decode()))


def _sent(request: Request) -> Steps[None]:
    yield request
