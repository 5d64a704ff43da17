"""Decide what a call does, without doing any input or output.

A call is a generator. It yields a `Request`, a `Pause` or some `Work`, and the result is sent back into it. A transport
(`transport.py`) drives it and does the input and output, blocking or not. So both kinds of clients share the code that
decides what to send, what to repeat, and when to give up.
"""

import random
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, TypeVar

from tcsfeel.rest.problems import ApiError, NoAnswer, Unavailable, refusal

Result = TypeVar("Result")
Writer = Callable[[bytes], object]

MAX_ANSWER_BYTES = 256_000_000


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of an answer."""

    status: int
    headers: Mapping[str, str]

    @property
    def is_success(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


@dataclass(frozen=True, slots=True)
class Answer(Head):
    """A whole answer. `body` is empty if a receiver took it. `repeats` counts the attempts before this one."""

    body: bytes = field(repr=False)
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the REST API.

    Attributes:
        path: the path below the server's base URL, with all parts quoted.
        body: returns the pieces of the body; it is called again for each attempt.
        repeatable: whether it does no harm if the server receives the request twice.
        accepts: statuses that count as an answer and not as a refusal, besides successes.
        wait_seconds: how much longer than usual the server may take to begin its answer.
        resume: returns the headers of the next attempt, if they depend on what has arrived so far.
        receiver: receives the pieces of a successful answer's body, which is then not in `Answer.body`.
        give_up_at: the time of the clock at which the request and its repeats end, if that is before their usual limit.
        position: returns how much the receiver has. When it has grown, the count of attempts starts again. Without
            `resume`, a request is not repeated once the receiver has something.
    """

    method: str
    path: str
    params: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Callable[[], Iterable[bytes]] | None = field(default=None, repr=False)
    repeatable: bool = False
    accepts: frozenset[int] = frozenset()
    wait_seconds: float = 0.0
    give_up_at: float | None = None
    resume: Callable[[], Mapping[str, str]] | None = None
    receiver: Callable[[Head], Writer] | None = None
    position: Callable[[], int] | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request to send now. `seconds` limits the whole exchange, or each step of it if a body may be long."""

    request: Request
    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for this many seconds. The time of the clock in seconds is sent back."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Compute something that takes too long for an event loop. The result is sent back."""

    function: Callable[[], Any]


Step = Request | Pause | Work
Steps = Generator[Step, Any, Result]
"""A call as the operations of the client write it."""
Actions = Generator[Attempt | Pause | Work, Any, Result]
"""A call with its repeats, as a transport drives it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take and how often it may be repeated.

    Attributes:
        attempts: the most attempts that are made.
        deadline_seconds: counted from the first attempt. No attempt begins later or lasts longer.
        timeout_seconds: how long one attempt may take.
        first_pause_seconds: the longest pause before the first repeat. The limit doubles with each repeat, and the
            pause is a random part of it.
        longest_pause_seconds: the limit of these pauses. A pause that `Retry-After` asks for is limited only by the
            deadline.
    """

    attempts: int = 5
    deadline_seconds: float = 120.0
    timeout_seconds: float = 30.0
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 10.0


def with_repeats(steps: Steps[Result], patience: Patience) -> Actions[Result]:
    """Add repeats to a call: repeat a request after a failure that may be temporary."""
    return _passed_on(steps, lambda step: _exchange(step, patience) if isinstance(step, Request) else _itself(step))


def until(give_up_at: float | None, steps: Steps[Result]) -> Steps[Result]:
    """Let the requests of a call take no longer than until this time of the clock."""

    def bounded(step: Step) -> Generator[Any, Any, Any]:
        return _itself(replace(step, give_up_at=give_up_at) if isinstance(step, Request) else step)

    return _passed_on(steps, bounded)


def _passed_on(
    steps: Steps[Result], passing: Callable[[Step], Generator[Any, Any, Any]]
) -> Generator[Any, Any, Result]:
    """Yield what `passing` makes of each step of a call, and give the call what comes of it, errors too."""
    try:
        step = next(steps)
        while True:
            try:
                result = yield from passing(step)
            except ApiError as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        value: Result = end.value
        return value


def _itself(step: Step) -> Generator[Step, Any, Any]:
    return (yield step)


def _exchange(request: Request, patience: Patience) -> Actions[Answer]:
    """Send a request until there is a final answer. Raises `ApiError`."""
    now: float = yield Pause(0)
    deadline = _deadline(request, now + patience.deadline_seconds + request.wait_seconds)
    failures, repeats, position = 0, 0, _position(request)
    while True:
        error, answer = yield from _attempt(request, patience, deadline - now)
        if answer is not None:
            return replace(answer, repeats=repeats)
        assert error is not None  # noqa: S101  (an attempt gives one of both)
        now = yield Pause(0)
        if _position(request) > position:
            failures, position, deadline = 0, _position(request), _deadline(request, now + patience.deadline_seconds)
        failures += 1
        repeats += 1
        pause = _pause(error, failures, patience)
        if not _may_repeat(request, error) or failures >= patience.attempts or now + pause >= deadline:
            raise error
        now = yield Pause(pause)


def _attempt(request: Request, patience: Patience, left: float) -> Actions[tuple[ApiError | None, Answer | None]]:
    headers = {**request.headers, **(request.resume() if request.resume else {})}
    try:
        answer: Answer = yield Attempt(
            replace(request, headers=headers), min(left, patience.timeout_seconds + request.wait_seconds)
        )
    except NoAnswer as error:
        return error, None
    if answer.is_success or answer.status in request.accepts:
        return None, answer
    return refusal(answer.status, answer.headers, answer.body), None


def _may_repeat(request: Request, error: ApiError) -> bool:
    if request.resume is None and _position(request):
        return False
    if isinstance(error, NoAnswer):
        return request.repeatable or not error.sent
    return request.repeatable and isinstance(error, Unavailable)


def _pause(error: ApiError, failures: int, patience: Patience) -> float:
    usual: float = min(patience.first_pause_seconds * 2 ** (failures - 1), patience.longest_pause_seconds)
    usual *= random.uniform(0.5, 1)  # noqa: S311  (spreads callers; guards nothing)
    asked = error.retry_after if isinstance(error, Unavailable) else None
    return max(usual, asked or 0.0)


def _deadline(request: Request, usual: float) -> float:
    return usual if request.give_up_at is None else min(usual, request.give_up_at)


def _position(request: Request) -> int:
    return 0 if request.position is None else request.position()
