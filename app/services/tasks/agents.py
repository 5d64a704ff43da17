"""The control plane's side of the agent protocol: one call each, what came back as a value, no retries.

No proxies from the environment, no redirects, no content codings but one that was asked for, and every address is
checked as it is connected to. Bodies stream to a spool as they come. Every call is bounded in bytes (the limit of its
body) and in time: see `AgentTransport` for a task's and a model's; a probe and an errand end with `connect_seconds`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import cast
from urllib.parse import quote, urlencode

import httpx2
import structlog

from app.domain.clients import Profile
from app.domain.failures import FailureKind
from app.services.access.tokens import AgentTokens
from app.services.tasks.complaints import GATEWAY, Complaint, may_pass, read_complaint
from app.services.tasks.connections import BROKEN, describe, is_ours
from app.services.tasks.replies import ANSWERS, EXPECTED, Reply, coding_of, retry_after
from app.services.tasks.turns import Turns
from app.settings import AgentSettings
from app.store.model_store import FileTooLarge, ModelStore, StoredFile, StoreUnavailable
from tcsfeel.errors import Picklable
from tcsfeel.text import SHOWN, plain
from tcsfeel.wire.codec import MEDIA_TYPE
from tcsfeel.wire.compression import IDENTITY
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.headers import LENGTH, check_beginning
from tcsfeel.wire.sizes import ERROR_BYTES

log = structlog.get_logger(__name__)

_SENT_BYTES = 1 << 20  # of a body in one turn: what the system takes of it at once is some 0.3 ms
_HEADERS = {"Accept": "*/*", "Accept-Encoding": IDENTITY, "User-Agent": "tcsfeel"}


class AgentFailed(Picklable):
    """A call failed and counts against the client: it could not be reached, was too slow, or gave a wrong answer.

    Attributes:
        passing: whether another try may have another result.
        kind: whether the agent could not be reached, or what it said was wrong.
        traceback: the last lines of the traceback of an exception in its trainer.
    """

    def __init__(
        self,
        reason: str,
        *,
        passing: bool = True,
        kind: FailureKind = "faulty",
        traceback: str | None = None,
        limit: int = SHOWN,
    ) -> None:
        """`limit` is how many characters of the reason are kept."""
        super().__init__(plain(reason, limit))
        self.passing = passing
        self.kind: FailureKind = kind
        self.traceback = traceback


class AgentCaller:
    """Calls agents. One instance serves the whole process; `transport` makes the exchanges."""

    def __init__(
        self, settings: AgentSettings, *, max_bytes: int, tokens: AgentTokens, transport: httpx2.AsyncBaseTransport
    ) -> None:
        self._settings = settings
        self._max_bytes = max_bytes
        self._tokens = tokens
        self._turns = Turns()
        # Without a client of httpx2 around it: cookies, redirects and the like are not wanted, and take their time.
        self._transport = transport

    async def close(self) -> None:
        await self._transport.aclose()

    async def is_healthy(self, profile: Profile) -> bool:
        """Tell whether the agent answers that it is able to train, within the time that a connection may take."""
        try:
            async with self._soon(), self._call("GET", profile, "/healthz") as response:
                return response.status_code == httpx2.codes.OK
        except (AgentFailed, TimeoutError):
            return False

    async def initial_model(self, profile: Profile, store: ModelStore, *, local: Sequence[str] = ()) -> StoredFile:
        """Fetch initial parameters into `store`; an agent may leave out tensors that match `local`.

        Raises `AgentFailed`.
        """
        asked = "/model" + (
            f"?{urlencode([('local', pattern) for pattern in local], quote_via=quote)}" if local else ""
        )
        async with self._call("GET", profile, asked) as response:
            if response.status_code != httpx2.codes.OK:
                complaint = await self._complaint(response)
                raise AgentFailed(
                    f"the agent answered GET /model with {response.status_code}: {complaint.text}".removesuffix(": ")
                )
            return await self._receive(response, store, IDENTITY, check=check_beginning)

    async def has_frozen(self, profile: Profile, frozen_id: str) -> bool:
        """Tell whether the agent says soon that it has kept the frozen tensors of this id.

        An agent that does not know the question may close the connection or stay silent: it gets everything. If it
        cannot be reached at all, the hand-over shows it.
        """
        with contextlib.suppress(AgentFailed, TimeoutError):
            async with self._soon(), self._call("GET", profile, f"/frozen/{frozen_id}") as response:
                return response.status_code == httpx2.codes.NO_CONTENT
        return False

    async def hand_over(
        self,
        profile: Profile,
        task_id: str,
        payload: tuple[bytes, memoryview],
        spool: ModelStore,
        *,
        accept: str = IDENTITY,
        limit: int | None = None,
        partly: bool = False,
    ) -> Reply:
        """``PUT`` a task; a result may be in the content coding `accept` and have `limit` bytes.

        `partly` says that the task comes without its frozen tensors, which the agent may have lost. Raises
        `AgentFailed`.
        """
        size = len(payload[0]) + len(payload[1])
        headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(size), "Accept-Encoding": accept}
        call = self._call("PUT", profile, f"/tasks/{task_id}", headers=headers, content=_Payload(payload, self._turns))
        async with call as response:
            if partly and response.status_code == httpx2.codes.PRECONDITION_FAILED:
                return Reply("lacking")
            return await self._reply(response, spool, accept, limit)

    async def poll(
        self,
        profile: Profile,
        task_id: str,
        wait: float,
        spool: ModelStore,
        *,
        accept: str = IDENTITY,
        limit: int | None = None,
    ) -> Reply:
        """``GET`` a task's result, waiting at the agent for up to `wait` seconds; otherwise as `hand_over`."""
        headers = {"Accept-Encoding": accept}
        async with self._call("GET", profile, f"/tasks/{task_id}?wait={wait:g}", headers=headers) as response:
            return await self._reply(response, spool, accept, limit)

    async def forget(self, profile: Profile, task_id: str) -> None:
        """``DELETE`` a task. A failure does not matter, because agents drop old results by themselves."""
        with contextlib.suppress(AgentFailed, OSError):
            async with self._soon(), self._call("DELETE", profile, f"/tasks/{task_id}"):
                pass

    def _soon(self) -> asyncio.Timeout:
        """Limit a whole call to the time of a connection, because nothing depends on its answer."""
        return asyncio.timeout(self._settings.connect_seconds)

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        profile: Profile,
        path: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: AsyncIterable[bytes] | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        """Make one exchange. Every fault of the agent raises `AgentFailed`; an OSError is the server's."""
        sent = {**_HEADERS, **headers}
        await self._turns.take()
        try:
            if profile.auth_token is not None:
                sent["Authorization"] = f"Bearer {self._tokens.opened(profile.auth_token)}"
            request = httpx2.Request(method, profile.url.rstrip("/") + path, headers=sent, content=content)
            response = await self._transport.handle_async_request(request)
            response.request = request
        except (*BROKEN, OSError, ValueError) as error:  # ValueError: its URL, or a token that is locked
            if is_ours(error):
                raise
            raise AgentFailed(describe(error), kind="unreachable") from error
        except MemoryError:
            raise
        except Exception as error:
            raise _unforeseen(error) from error
        try:
            yield response
        except BROKEN as error:
            raise AgentFailed(describe(error), kind="unreachable") from error
        except (AgentFailed, StoreUnavailable, MemoryError):
            raise
        except Exception as error:
            raise _unforeseen(error) from error
        finally:
            await response.aclose()

    async def _reply(self, response: httpx2.Response, spool: ModelStore, accept: str, limit: int | None) -> Reply:
        status = response.status_code
        if status == httpx2.codes.OK:
            loop = asyncio.get_running_loop()
            started = loop.time()
            await self._turns.take()
            file = await self._receive(response, spool, accept, limit)
            return Reply("result", file, coding_of(response), loop.time() - started)
        if status in ANSWERS:
            return Reply(ANSWERS[status], retry_after=retry_after(response))
        if status == httpx2.codes.INTERNAL_SERVER_ERROR:
            complaint = await self._complaint(response)
            return Reply("raised", detail=complaint.text, passing=complaint.passing, traceback=complaint.traceback)
        if status < httpx2.codes.BAD_REQUEST:
            phrase = httpx2.codes.get_reason_phrase(status)
            reason = f"the agent answered {status} {phrase}".rstrip() + f", expected {EXPECTED}"
        else:
            complaint = await self._complaint(response)
            reason = f"the agent answered {status}: {complaint.text}".removesuffix(": ")
        raise AgentFailed(reason, passing=may_pass(status), kind="unreachable" if status in GATEWAY else "faulty")

    async def _body(
        self, response: httpx2.Response, check: Callable[[bytes], None] = lambda _beginning: None
    ) -> AsyncIterator[bytes]:
        beginning = b""
        async for chunk in response.aiter_raw():
            if len(beginning) < LENGTH.size:
                beginning += chunk[: LENGTH.size - len(beginning)]
                if len(beginning) == LENGTH.size:
                    check(beginning)
            yield chunk
            await self._turns.take()

    async def _receive(
        self,
        response: httpx2.Response,
        store: ModelStore,
        accept: str,
        limit: int | None = None,
        *,
        check: Callable[[bytes], None] = lambda _beginning: None,
    ) -> StoredFile:
        """Store a body of at most `limit` bytes; `check` may refuse it after its first eight bytes."""
        most = self._max_bytes if limit is None else min(limit, self._max_bytes)
        if (coding := coding_of(response)) not in {IDENTITY, accept}:
            reason = f"the agent answered with Content-Encoding {coding[:32]!r}, which is not accepted"
            raise AgentFailed(reason, passing=False)
        try:
            return await store.receive(self._body(response, check), most)
        except WireError as error:
            raise AgentFailed(str(error), passing=False) from error
        except FileTooLarge as error:
            raise AgentFailed(f"the agent sent a body of more than {error.limit} bytes", passing=False) from error

    async def _complaint(self, response: httpx2.Response) -> Complaint:
        """Read the body of an error.

        Only the part counts that came within the time that a connection may take. The status counts without it.
        """
        if (coding := coding_of(response)) != IDENTITY:
            return Complaint(f"a body in Content-Encoding {coding[:32]!r}, which is not accepted")
        text = bytearray()
        with contextlib.suppress(*BROKEN):  # among them the time's end
            async with self._soon():
                async for piece in response.aiter_raw():
                    text += piece[: ERROR_BYTES - len(text)]
                    if len(text) >= ERROR_BYTES:
                        break
                    await self._turns.take()
        token = response.request.headers.get("Authorization", "").removeprefix("Bearer ")
        return read_complaint(bytes(text), token)


class _Payload:
    """A task and its model as they are sent. They are sent again if a kept connection turns out to be closed."""

    def __init__(self, payload: tuple[bytes, memoryview], turns: Turns) -> None:
        self._header, self._block = payload
        self._turns = turns

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._header
        for start in range(0, len(self._block), _SENT_BYTES):
            await self._turns.take()
            yield cast("bytes", self._block[start : start + _SENT_BYTES])  # any buffer will do, and without a copy


def _unforeseen(error: Exception) -> AgentFailed:
    """Make the failure of an answer that raised an unexpected error. It fails its own client and no other."""
    log.error("an agent's answer could not be read", exc_info=error)
    return AgentFailed(f"its answer could not be read ({type(error).__name__})")
