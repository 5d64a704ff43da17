"""Let agents fetch the parameters of their tasks from the bucket, so that they do not go through the servers.

An agent that can do that says so: one that pulls in its question, another one in its answer to ``GET /healthz``. It
gets its task with a URL in place of the tensors. An agent that says nothing gets the tensors, and so does one that says
that it cannot fetch them at present. Its reason is logged.
"""

from collections.abc import Awaitable, Callable
from typing import Literal

import structlog

from app.domain.clients import Endpoint
from app.metrics import Metrics
from app.services.tasks.bodies import TaskBody
from app.store.bucket import ObjectStoreUnavailable
from app.store.model_store import StoredFile
from app.store.presigned import PresignedUrls
from app.threads import in_thread
from tcsfeel.text import plain
from tcsfeel.wire.codec import Packed
from tcsfeel.wire.resuming import NO, YES
from tcsfeel.wire.tasks import Source, Task, task_metadata

LEAST_BYTES = 1 << 20  # of parameters that are named by a URL: smaller ones are there before another host has answered
_LONGEST_REASON = 100  # characters
_NOTHING = Packed({}, memoryview(b""))

log = structlog.get_logger(__name__)


class Sources:
    """Makes the bodies of tasks whose parameters are named by a URL.

    Args:
        urls: signs the URLs; None if agents get no URLs.
        ask: asks an agent that is called what it says of URLs, which is nothing if it does not know them.
    """

    def __init__(
        self, urls: PresignedUrls | None, metrics: Metrics, *, ask: Callable[[Endpoint], Awaitable[str]]
    ) -> None:
        self._urls = urls
        self._metrics = metrics
        self._ask = ask

    @property
    def offer(self) -> bool:
        """Whether agents may fetch parameters by URL at all."""
        return self._urls is not None

    async def in_place_of(self, body: TaskBody, agent: Endpoint) -> TaskBody:
        """Return what an agent that is called is sent in place of the body of a task, or the body itself."""
        origin = body.origin
        if agent.pulls or origin is None or not self.may_name(origin.task, origin.file):
            return body
        said = await self._ask(agent)
        return await self.named(origin.task, origin.file, said, channel="push", client_id=agent.client_id) or body

    def may_name(self, task: Task, file: StoredFile | None) -> bool:
        """Tell whether the parameters of a task may be named by a URL: if they are a large file as they are stored.

        Frozen tensors may be left out, and SCAFFOLD's are looked at apart, so those tasks come with their parameters.
        """
        is_plain = task.kind != "model" and not task.frozen_id and task.control_round is None
        return self._urls is not None and is_plain and file is not None and file.size >= LEAST_BYTES

    async def named(
        self, task: Task, file: StoredFile | None, said: str, *, channel: Literal["push", "pull"], client_id: str
    ) -> TaskBody | None:
        """Make the body of a task that names the URL of its parameters; None if it has to come with them.

        `said` is what the agent says of URLs.
        """
        if self._urls is None or file is None or not said:
            return None
        if said != YES:
            reason = plain(said.removeprefix(NO).removeprefix(";reason="), _LONGEST_REASON)
            self._declined(channel, client_id, f"the agent could not fetch them by URL: {reason}")
            return None
        try:
            url, upload = await in_thread("files", self._signed, self._urls, task, file, channel)
        except ObjectStoreUnavailable as error:
            self._declined(channel, client_id, str(error))
            return None
        source = Source(url=url, sha256=file.sha256, size=file.size, upload=upload)
        self._metrics.parameters_by_url.labels(channel, "url").inc()
        return TaskBody(*_NOTHING.payload({**task_metadata(task), "source": source.to_json()}))

    @staticmethod
    def _signed(urls: PresignedUrls, task: Task, file: StoredFile, channel: str) -> tuple[str, str]:
        """Sign the URL of the parameters, and that for the update of an agent that pulls."""
        has_update = channel == "pull" and task.kind == "fit"
        read = urls.to_read(file.sha256, task.deadline_seconds)
        return read, urls.to_write(task.id, task.deadline_seconds) if has_update else ""

    def _declined(self, channel: str, client_id: str, reason: str) -> None:
        self._metrics.parameters_by_url.labels(channel, "server").inc()
        log.warning("the parameters of a task go through this server", client=client_id, reason=reason)
