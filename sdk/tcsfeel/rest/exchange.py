"""What a call does, decided without doing any of it.

A call is a generator: it yields a `Request`, a `Pause` or some `Work`, and is sent what came of it. Whoever drives it
does the input and output, blocking or not (`transport.py`), so both kinds of clients decide in the same lines what
is sent, repeated and given up.
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
    """A whole answer; `body` is empty where a receiver took it. `repeats` counts the attempts before this one."""

    body: bytes = field(repr=False)
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the REST API.

    Attributes:
        path: below the server's base URL, with everything quoted.
        body: pieces of the body, made anew for each attempt.
        repeatable: whether a second arrival at the server does no harm.
        accepts: statuses besides successes that are an answer and not a refusal.
        wait_seconds: that the server may take until its answer begins, besides what is usual.
        resume: headers of the next attempt, where they depend on what came so far.
        receiver: takes the pieces of a success's body, in place of `Answer.body`.
        position: how much the receiver has; attempts count anew once it has moved.
    """

    method: str
    path: str
    params: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Callable[[], Iterable[bytes]] | None = field(default=None, repr=False)
    repeatable: bool = False
    accepts: frozenset[int] = frozenset()
    wait_seconds: float = 0.0
    resume: Callable[[], Mapping[str, str]] | None = None
    receiver: Callable[[Head], Writer] | None = None
    position: Callable[[], int] | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request to be sent now. `seconds` bound the whole of it, or each step where a body may be long."""

    request: Request
    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so many seconds. The clock's seconds are sent back."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Compute something that takes long enough to be kept off an event loop. Its result is sent back."""

    function: Callable[[], Any]


Steps = Generator[Request | Pause | Work, Any, Result]
"""A call as the client's methods write it."""
Actions = Generator[Attempt | Pause | Work, Any, Result]
"""The same with its repeats, as it is driven."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request may take and how often it may be repeated.

    Attributes:
        attempts: that are made at most.
        deadline_seconds: from the first attempt; no further one begins later, and none lasts longer.
        timeout_seconds: of one attempt.
        first_pause_seconds: before the first repeat; each further pause is twice as long, and a random part of it.
        longest_pause_seconds: of those; what `Retry-After` asks for is honoured up to the deadline.
    """

    attempts: int = 5
    deadline_seconds: float = 120.0
    timeout_seconds: float = 30.0
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 10.0


def with_repeats(steps: Steps[Result], patience: Patience) -> Actions[Result]:
    """Drive a call's requests through refusals that a repeat can mend."""
    try:
        step = next(steps)
        while True:
            try:
                result = (yield from _exchange(step, patience)) if isinstance(step, Request) else (yield step)
            except ApiError as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        value: Result = end.value
        return value


def _exchange(request: Request, patience: Patience) -> Actions[Answer]:
    """Send a request until there is an answer that stands. Raises `ApiError`."""
    now: float = yield Pause(0)
    deadline = now + patience.deadline_seconds + request.wait_seconds
    failures, repeats, position = 0, 0, _position(request)
    while True:
        error, answer = yield from _attempt(request, patience, deadline - now)
        if answer is not None:
            return replace(answer, repeats=repeats)
        assert error is not None  # noqa: S101  (an attempt gives one of both)
        now = yield Pause(0)
        if _position(request) != position:
            failures, position, deadline = 0, _position(request), now + patience.deadline_seconds
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
    if isinstance(error, NoAnswer):
        return request.repeatable or not error.sent
    return request.repeatable and isinstance(error, Unavailable)


def _pause(error: ApiError, failures: int, patience: Patience) -> float:
    usual: float = min(patience.first_pause_seconds * 2 ** (failures - 1), patience.longest_pause_seconds)
    usual *= random.uniform(0.5, 1)  # noqa: S311  (spreads callers; guards nothing)
    asked = error.retry_after if isinstance(error, Unavailable) else None
    return max(usual, asked or 0.0)


def _position(request: Request) -> int:
    return 0 if request.position is None else request.position()
