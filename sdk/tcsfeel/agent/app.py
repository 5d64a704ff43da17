"""Serve the agent protocol over HTTP for one agent.

The routes are written out by hand: a round makes hundreds of small requests and one process hosts hundreds of agents,
so a router and middleware for each agent would cost more than the work itself.
"""

import asyncio
import hmac
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tcsfeel.agent.asgi import Disconnected, Receive, Request, Response, Scope, Send, route_path
from tcsfeel.agent.entries import OVER, Entry
from tcsfeel.agent.errors import BrokenResult
from tcsfeel.agent.fetching import Fetch, Fetching
from tcsfeel.agent.frozen import FrozenTensors, NoFrozenTensors
from tcsfeel.agent.granted import granted
from tcsfeel.agent.local import LocalTensors
from tcsfeel.agent.receiving import Uploads
from tcsfeel.agent.relaying import Relaying
from tcsfeel.agent.replies import ParametersResponse, Problem, compressed_response, ranged, status_response
from tcsfeel.agent.signing import Answer, Signing
from tcsfeel.agent.tasks import TaskTable
from tcsfeel.agent.trainer import Trainer
from tcsfeel.agent.workers import Workers
from tcsfeel.inbound import Crowded, welcome
from tcsfeel.wire.codec import Parameters, unpack
from tcsfeel.wire.compression import accepts_zstd
from tcsfeel.wire.control import separated
from tcsfeel.wire.digests import digest_of, read_digest
from tcsfeel.wire.errors import WireError
from tcsfeel.wire.grants import Grant, read_grant
from tcsfeel.wire.groups import MOST_PATTERNS
from tcsfeel.wire.relays import read_subtree
from tcsfeel.wire.resuming import UPLOAD_COMPLETE, YES
from tcsfeel.wire.signatures import digest_header
from tcsfeel.wire.tasks import UNMATCHED_LOCAL, Task, read_task

if TYPE_CHECKING:
    from tcsfeel.agent.subtrees import Group

MAX_BODY_BYTES = 4 * 1024**3
MAX_WAIT_SECONDS = 60.0
QUICK_SECONDS = 0.2  # a task that is done within this time is answered at once with its result

_NO_CONTENT = Response(HTTPStatus.NO_CONTENT)
_ALL_HERE = Response(HTTPStatus.NO_CONTENT, headers={UPLOAD_COMPLETE: YES})
_HEALTHY = status_response(HTTPStatus.OK, "ok")
_RUNNING = status_response(HTTPStatus.ACCEPTED, "running")
_HASHED_AT_ONCE = 1 << 16  # bytes that the event loop hashes; a thread hashes more


class Agent:
    """An ASGI app that serves one trainer.

    Args:
        trainer: what trains.
        executor: runs the training; by default a separate thread.
        token: the bearer token that every call must have; None accepts calls without a token.
        signing: the keys of an agent with an identity. It takes only signed calls, and signs its results.
        max_body_bytes: the largest task that is read; a larger one is refused with 413.
        clock: monotonic seconds.
        now: unix seconds, by which grants of relays expire.
        local_directory: where the tensors are kept that a training leaves on the device; None keeps them in memory.
        frozen: the frozen tensors that other agents of this process have received as well.
        fetching: fetches the parameters of tasks that name their URL; None if they have to come with the task.
        relaying: lets it relay the updates of others, and be a child of a relay; None if its updates go to the
            control plane alone.

    Attributes:
        public_path: the path of the URL that the control plane calls, for signed calls. It differs from the one that
            arrives here if a proxy in between rewrites it. None is the one that arrives.
    """

    def __init__(
        self,
        trainer: Trainer,
        *,
        executor: Executor | None = None,
        token: str | None = None,
        signing: Signing | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        local_directory: Path | None = None,
        frozen: FrozenTensors | None = None,
        relaying: Relaying | None = None,
        fetching: Fetching | None = None,
    ) -> None:
        self.trainer = trainer
        self.fetching = fetching
        self.relaying = relaying
        self.token = token
        self.public_path: str | None = None
        self.table = TaskTable(trainer, executor or Workers(1), clock=clock, local=LocalTensors(local_directory))
        self._uploads = Uploads(clock)
        self._frozen = FrozenTensors() if frozen is None else frozen
        self._credentials = None if token is None else token.encode()
        self.signing = signing
        self.max_body_bytes = max_body_bytes
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.respond(route_path(scope), scope, receive, send)

    async def respond(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for `path`, which is relative to the agent's base URL."""
        request = Request(scope, receive)
        try:
            if (grant := read_grant(request.authorization[1])) is not None:
                response = await self._answer_relay(path, request, grant)
            else:
                self._authenticate(request)
                call = None if self.signing is None else self.signing.admit(request, self._target(path, scope))
                response = await self._answer(path, request)
                if self.signing is not None and call is not None and response.status == HTTPStatus.OK:
                    response = self.signing.signed(response, call)
        except Problem as problem:
            response = problem.response()
        except Disconnected:
            return
        await response(scope, receive, send)

    def close(self) -> None:
        self.table.close()

    async def _answer(self, path: str, request: Request) -> Answer:
        match request.method, path.split("/")[1:]:
            case "GET", ["healthz"]:
                return _HEALTHY if self.fetching is None else _HEALTHY.with_headers(self.fetching.said)
            case "GET", ["model"]:
                return ranged(await self._model(request), request)
            case "GET", ["frozen", frozen_id] if frozen_id:
                if frozen_id not in self._frozen:
                    raise Problem(HTTPStatus.NOT_FOUND, f"there are no frozen tensors {frozen_id!r}")
                return _NO_CONTENT
            case _, ["tasks", task_id] if task_id:
                return await self._task(task_id, request)
            case _, ["healthz"] | ["model"] | ["frozen", _]:
                raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} allows only GET", {"Allow": "GET"})
        raise Problem(HTTPStatus.NOT_FOUND, "the agent has /healthz, /model, /frozen/{frozen_id} and /tasks/{task_id}")

    async def _task(self, task_id: str, request: Request) -> Answer:
        match request.method:
            case "PUT" | "PATCH":
                return await self._put(task_id, request)
            case "HEAD":
                return _ALL_HERE if self.table.find(task_id) else self._uploads.progress(task_id)
            case "GET":
                return ranged(await self._get(task_id, request), request)
            case "DELETE":
                self.table.delete(task_id)
                self._uploads.drop(task_id)
                return _NO_CONTENT
        allow = "GET, HEAD, PUT, PATCH, DELETE"
        raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, f"a task allows only {allow}", {"Allow": allow})

    async def _answer_relay(self, path: str, request: Request, grant: Grant) -> Answer:
        """Answer a relay, which may hand over one task of this agent and fetch its result. Raises `Problem`."""
        task_id = granted(request, path, grant, self, self._now())
        _welcome(request)
        response = await (self._get if request.method == "GET" else self._put)(task_id, request)
        if self.signing is not None and response.status == HTTPStatus.OK:
            response = response.with_headers(self.signing.sign_for_relay(task_id, response.digest))
        return response

    def _authenticate(self, request: Request) -> None:
        scheme, given = request.authorization
        if self._credentials is None or (
            scheme == "bearer" and hmac.compare_digest(given.encode("latin-1"), self._credentials)
        ):
            _welcome(request)
            return
        challenge = 'Bearer realm="agent"' + (', error="invalid_token"' if scheme else "")
        detail = "the bearer token is wrong" if scheme else "a bearer token is needed"
        raise Problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": challenge})

    async def _model(self, request: Request) -> Answer:
        local = request.parameters("local")
        if len(local) > MOST_PATTERNS:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"local may be given {MOST_PATTERNS} times")
        try:
            model, unmatched = await self.table.initial_model(local)
        except BrokenResult as error:
            raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
        payload = model.payload({UNMATCHED_LOCAL: json.dumps(unmatched)} if local else None)
        return ParametersResponse(payload, await _digest(payload))

    async def _put(self, task_id: str, request: Request) -> Answer:
        if request.method == "PATCH":
            body = await self._uploads.rest(task_id, request)
        else:
            body = await self._uploads.whole(task_id, request, self.max_body_bytes)
        named = digest_header(request.method)
        expected = read_digest(request.header(named.lower()))
        if expected is not None and expected != await _digest([body]):
            detail = f"the body does not fit its {named}: it was corrupted on the way"
            raise Problem(HTTPStatus.BAD_REQUEST, detail, again=True)
        entry = self.table.find(task_id)
        if entry is None or entry.state in OVER:
            entry = await self.accept(task_id, body)
        await self.table.settle(entry, QUICK_SECONDS)
        return await _outcome(entry, request)

    def read(self, task_id: str, body: memoryview) -> Task:
        """Read the task that came with some parameters. Raises `Problem`."""
        return self._read(task_id, body)[0]

    def _read(self, task_id: str, body: memoryview) -> tuple[Task, Parameters, "Group | None", Fetch | None]:
        try:
            packed, metadata = unpack(body)
            task, parameters = separated(read_task(metadata), packed.parameters())
            subtree = None if self.relaying is None else read_subtree(metadata)
            fetch = None if self.fetching is None else self.fetching.of(metadata, self.max_body_bytes)
        except WireError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        if task.id != task_id:
            detail = f"task.id is {task.id!r}, the path says {task_id!r}"
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        plain = task.kind == "fit" and not task.frozen_id and task.control_round is None
        if self.relaying is None or subtree is None or not plain:
            return task, parameters, None, fetch
        from tcsfeel.agent.subtrees import Group  # noqa: PLC0415  (most agents never relay)

        return task, parameters, Group(self.relaying, task, subtree, packed), None

    async def accept(self, task_id: str, body: memoryview) -> Entry:
        """Begin to work on a task that came with some parameters. Raises `Problem`."""
        task, parameters, group, fetch = self._read(task_id, body)
        if not task.frozen_id:
            return self.table.submit(task, parameters, group=group, fetch=fetch)
        try:
            trained, frozen = await asyncio.to_thread(self._frozen.split, task, parameters)
        except NoFrozenTensors:
            detail = f"the frozen tensors {task.frozen_id!r} are not here: send them with the task"
            raise Problem(HTTPStatus.PRECONDITION_FAILED, detail) from None
        return self.table.submit(task, trained, frozen)

    async def _get(self, task_id: str, request: Request) -> Answer:
        entry = await self.table.wait(task_id, _wait_seconds(request))
        if entry is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"there is no task {task_id!r}")
        return await _outcome(entry, request)

    def _target(self, path: str, scope: Scope) -> str:
        """Return the path and query that the control plane called."""
        if self.public_path is None:
            called = str(scope["raw_path"], "latin-1") if scope.get("raw_path") else quote(scope["path"])
        else:
            called = self.public_path + quote(path)
        query = str(scope.get("query_string", b""), "latin-1")
        return f"{called}?{query}" if query else called


def _welcome(request: Request) -> None:
    try:
        welcome(request.scope)
    except Crowded as crowded:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(crowded), {"Retry-After": "1"}) from None


async def _digest(pieces: Sequence[bytes | memoryview]) -> bytes:
    if sum(map(len, pieces)) <= _HASHED_AT_ONCE:
        return digest_of(pieces)
    return await asyncio.to_thread(digest_of, pieces)


async def _outcome(entry: Entry, request: Request) -> Answer:
    match entry.state:
        case "done" if entry.payload is not None:
            if accepts_zstd(request.header("accept-encoding")):
                return await compressed_response(entry.payload)
            return ParametersResponse(entry.payload, entry.digest)
        case "failed":
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            raise Problem(status, entry.failure, broken_trainer=entry.broken, traceback=entry.traceback)
        case "lost":
            raise Problem(HTTPStatus.NOT_FOUND, entry.failure)
        case "cancelled":
            raise Problem(HTTPStatus.GONE, f"task {entry.task.id!r} was cancelled")
    return _RUNNING


def _wait_seconds(request: Request) -> float:
    text = request.parameter("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"wait must be seconds, 0 or more, not {text!r}")
    return min(seconds, MAX_WAIT_SECONDS)
