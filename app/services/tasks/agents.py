"""The control plane's side of the agent protocol: one call each, what came back as a value, no retries.

Calls of an agent with a key are signed, and its results count only with a signature of that key (`answers.py`). It is
sent a task only over a connection over which it has signed an answer (`connections.py`).

No proxies from the environment, no redirects, no content codings but one that was asked for, and every address is
checked as it is connected to. Bodies stream to a spool as they come. Every call is bounded in bytes (the limit of its
body) and in time: see `AgentTransport` for a task's and a model's; a probe and an errand end with `connect_seconds`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from urllib.parse import quote, urlencode

from app.clock import Clock, SystemClock
from app.domain.clients import Endpoint, Health
from app.domain.failures import FailureKind
from app.services.access.tokens import AgentTokens
from app.services.tasks.answers import AgentFailed, Answer, health_of, unforeseen
from app.services.tasks.bodies import Sent, TaskBody
from app.services.tasks.breaks import BROKEN, describe, is_ours
from app.services.tasks.complaints import GATEWAY, may_pass
from app.services.tasks.incoming import Incoming
from app.services.tasks.moves import Moves
from app.services.tasks.outgoing import Arrived, Course, arrived, arrived_elsewhere, headers_of
from app.services.tasks.replies import ANSWERS, Reply, coding_of, retry_after, unexpected
from app.services.tasks.requests import Request
from app.services.tasks.responses import Ask, Proof, Response, Transport
from app.services.tasks.resuming import TRIES, Resuming
from app.services.tasks.signer import Signer
from app.settings import AgentSettings
from app.store.model_store import ModelStore, StoredFile, StoreUnavailable
from app.turns import Turns
from tcsfeel.wire.compression import IDENTITY
from tcsfeel.wire.headers import check_beginning
from tcsfeel.wire.signatures import Signed
from tcsfeel.wire.tasks import BY_URL

_HEADERS = {"Accept": "*/*", "Accept-Encoding": IDENTITY, "User-Agent": "tcsfeel"}


class AgentCaller:
    """Calls agents. One instance serves the whole process; `transport` makes the exchanges, `signer` signs them."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        max_bytes: int,
        tokens: AgentTokens,
        transport: Transport,
        signer: Signer,
        resuming: Resuming = Resuming(),  # noqa: B008  (it is frozen)
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._tokens = tokens
        self._turns = Turns()
        self._resuming = resuming
        self._moves = Moves(clock or SystemClock())
        self._incoming = Incoming(self._turns, resuming, max_bytes=max_bytes)
        self._transport = transport

    async def close(self) -> None:
        await self._transport.close()

    async def health(self, agent: Endpoint) -> Health:
        """Find out whether the agent is able to train and, if it has a key, whether it is the one that has the key.

        It has to answer within the time that a connection may take. An agent whose link is busy with a transfer that
        moves is alive, although its answer may be late.
        """
        if self._moves.is_moving(agent, self._settings.connect_seconds):
            return Health(alive=True)
        try:
            async with self._soon(), self._call("GET", agent, "/healthz") as answer:
                return await health_of(answer)
        except (AgentFailed, TimeoutError) as error:
            return Health(alive=False, silence=str(error) if isinstance(error, AgentFailed) else describe(error))

    def moved_at(self, agent: Endpoint, task_id: str) -> float | None:
        """Return when bytes of a task last moved to or from its agent, unix seconds, and forget it."""
        del agent
        return self._moves.take(task_id)

    async def initial_model(
        self, agent: Endpoint, store: ModelStore, *, local: Sequence[str] = (), task_id: str = ""
    ) -> StoredFile:
        """Fetch initial parameters into `store`; an agent may leave out tensors that match `local`.

        Raises `AgentFailed`.
        """
        del task_id  # the question is repeated by a new call
        asked = "/model" + (
            f"?{urlencode([('local', pattern) for pattern in local], quote_via=quote)}" if local else ""
        )
        async with self._call("GET", agent, asked) as answer:
            if (status := answer.response.status) != HTTPStatus.OK:
                complaint = await answer.complaint()
                raise AgentFailed(f"the agent answered GET /model with {status}: {complaint.text}".removesuffix(": "))
            answer.verify()
            again = partial(self._call, "GET", agent, asked)
            return await self._incoming.receive(answer, store, again, kind="model", check=check_beginning)

    async def has_frozen(self, agent: Endpoint, frozen_id: str) -> bool:
        """Tell whether the agent says soon that it has kept the frozen tensors of this id.

        An agent that does not know the question may close the connection or stay silent: it gets everything. If it
        cannot be reached at all, the hand-over shows it.
        """
        with contextlib.suppress(AgentFailed, TimeoutError):
            async with self._soon(), self._call("GET", agent, f"/frozen/{frozen_id}") as answer:
                return answer.response.status == HTTPStatus.NO_CONTENT
        return False

    async def says_of_urls(self, agent: Endpoint) -> str:
        """Ask what an agent says of parameters by URL; nothing, if it does not know them or does not answer soon."""
        with contextlib.suppress(AgentFailed, TimeoutError):
            async with self._soon(), self._call("GET", agent, "/healthz") as answer:
                return answer.response.header(BY_URL)
        return ""

    async def hand_over(
        self,
        agent: Endpoint,
        task_id: str,
        body: TaskBody,
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
        course = Course(len(body))
        while True:
            try:
                sent = self._send(agent, task_id, body, course.offset, accept)
                async with sent as answer:
                    if partly and answer.response.status == HTTPStatus.PRECONDITION_FAILED:
                        return Reply("lacking")
                    return await self._reply(answer, task_id, spool, accept, limit)
            except AgentFailed as error:
                if error.kind != "unreachable" or course.is_short:
                    raise
                course.advance(await self._arrived(agent, task_id, error), error)
            if course.arrived:
                return Reply("working")
            self._resuming.note("task")

    async def poll(
        self,
        agent: Endpoint,
        task_id: str,
        wait: float,
        spool: ModelStore,
        *,
        accept: str = IDENTITY,
        limit: int | None = None,
    ) -> Reply:
        """``GET`` a task's result, waiting at the agent for up to `wait` seconds; otherwise as `hand_over`."""
        headers = {"Accept-Encoding": accept}
        async with self._call("GET", agent, f"/tasks/{task_id}?wait={wait:g}", headers=headers) as answer:
            return await self._reply(answer, task_id, spool, accept, limit)

    async def forget(self, agent: Endpoint, task_id: str) -> None:
        """``DELETE`` a task. A failure does not matter, because agents drop old results by themselves."""
        with contextlib.suppress(AgentFailed, OSError):
            async with self._soon(), self._call("DELETE", agent, f"/tasks/{task_id}"):
                pass

    def _soon(self) -> asyncio.Timeout:
        """Limit a whole call to the time of a connection, because nothing depends on its answer."""
        return asyncio.timeout(self._settings.connect_seconds)

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        agent: Endpoint,
        path: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: AsyncIterable[bytes | memoryview] | None = None,
        ask: Ask | None = None,
    ) -> AsyncIterator[Answer]:
        """Make one exchange. Every fault of the agent raises `AgentFailed`; an OSError is the server's."""
        sent, token = {**_HEADERS, **headers}, ""
        await self._turns.take()
        try:
            if agent.auth_token is not None:
                token = self._tokens.opened(agent.auth_token)
                sent["Authorization"] = f"Bearer {token}"
            request = Request(method, agent.url or "", path, sent, content)
            response, call = await self._exchange(agent, request, ask or self._asking(agent, request))
        except (*BROKEN, OSError, ValueError) as error:  # ValueError: its URL, or a token that is locked
            if is_ours(error):
                raise
            raise AgentFailed(describe(error), kind="unreachable") from error
        except (AgentFailed, MemoryError):
            raise
        except Exception as error:
            raise unforeseen(error) from error
        try:
            yield Answer(response, agent, call, self._turns, self._settings.connect_seconds, token)
        except BROKEN as error:
            raise AgentFailed(describe(error), kind="unreachable") from error
        except (AgentFailed, StoreUnavailable, MemoryError):
            raise
        except Exception as error:
            raise unforeseen(error) from error
        finally:
            await response.close()

    def _asking(self, agent: Endpoint, request: Request) -> Ask:
        """Return what sends a request. A task goes only over a connection that leads to the agent's device."""
        if agent.public_key is None or "Content-Length" not in request.headers:
            return self._transport.exchange
        return partial(self._transport.exchange, proof=Proof(agent.public_key, partial(self._prove, agent)))

    async def _exchange(self, agent: Endpoint, request: Request, ask: Ask) -> tuple[Response, Signed | None]:
        """Sign a call and make it. If the agent knows an older key of the control plane, it is made again with that."""
        learnt = False
        while True:
            call = self._signer.sign(request, agent)
            response = await ask(request)
            if learnt or not (learnt := self._signer.learn(agent, call, response)):
                return response, call
            await response.close()

    async def _prove(self, agent: Endpoint, ask: Ask) -> None:
        """Let an agent sign an answer over the connection of `ask`. Raises `AgentFailed`."""
        async with self._call("GET", agent, "/healthz", ask=ask) as answer:
            health = await health_of(answer)
        if not health.alive:
            kind: FailureKind = "unreachable" if health.doubt is None else "faulty"
            raise AgentFailed(f"unproven: {health.doubt or health.silence}", doubt=health.doubt, kind=kind)

    @asynccontextmanager
    async def _send(
        self, agent: Endpoint, task_id: str, body: TaskBody, offset: int, accept: str
    ) -> AsyncIterator[Answer]:
        """Send a task, or the rest of it from the byte `offset` on."""
        method, headers = headers_of(body, await body.digest(), offset, accept)
        content = Sent(body, self._turns, offset, moved=partial(self._moves.note, agent, task_id))
        async with self._call(method, agent, f"/tasks/{task_id}", headers=headers, content=content) as answer:
            if offset and arrived_elsewhere(answer):
                raise AgentFailed("the agent has another part of the task by now", kind="unreachable")
            yield answer

    async def _arrived(self, agent: Endpoint, task_id: str, lost: AgentFailed) -> Arrived | None:
        """Ask how much of a task has arrived. Raises `lost` if the agent does not answer."""
        for failures in range(TRIES):
            await self._resuming.pause(failures)
            with contextlib.suppress(AgentFailed, TimeoutError):
                async with self._soon(), self._call("HEAD", agent, f"/tasks/{task_id}") as answer:
                    return arrived(answer)
        raise lost

    async def _reply(self, answer: Answer, task_id: str, spool: ModelStore, accept: str, limit: int | None) -> Reply:
        response = answer.response
        status = response.status
        if status == HTTPStatus.OK:
            loop = asyncio.get_running_loop()
            started = loop.time()
            if answer.call is not None:
                await self._turns.take()  # for the signature
            evidence = answer.verify()
            rest = partial(self._call, "GET", answer.agent, f"/tasks/{task_id}")
            moved = partial(self._moves.note, answer.agent, task_id)
            file = await self._incoming.receive(answer, spool, rest, accept=accept, limit=limit, moved=moved)
            return Reply("result", file, coding_of(response), loop.time() - started, evidence=evidence)
        if status in ANSWERS:
            return Reply(ANSWERS[status], retry_after=retry_after(response))
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            complaint = await answer.complaint()
            return Reply("raised", detail=complaint.text, passing=complaint.passing, traceback=complaint.traceback)
        again = False
        if status < HTTPStatus.BAD_REQUEST:
            reason = unexpected(status)
        else:
            complaint = await answer.complaint()
            reason = f"the agent answered {status}: {complaint.text}".removesuffix(": ")
            again = complaint.again
        raise AgentFailed(
            reason, passing=again or may_pass(status), kind="unreachable" if status in GATEWAY else "faulty"
        )
