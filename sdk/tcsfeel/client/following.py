"""Run rounds and trainings and wait until they end, which may take longer than one request."""

import inspect
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tcsfeel.client.messages import call
from tcsfeel.client.operations import create_training, get_round, get_training, list_rounds, start_training, unique
from tcsfeel.contract.rounds import RoundOut
from tcsfeel.contract.trainings import CreateTraining, TrainingOut
from tcsfeel.rest.calls import HOLD_SECONDS
from tcsfeel.rest.cursors import Cursors
from tcsfeel.rest.exchange import Pause, Request, Steps, until
from tcsfeel.rest.paths import path
from tcsfeel.rest.problems import ApiError, NoAnswer, Unavailable
from tcsfeel.statuses import STOPPED

POLL_SECONDS = 0.5
SHORTEST_SECONDS = 1.0  # that the first request of `wait` may take, even if the timeout is shorter
MOST_ROUNDS = 100  # items of a page


@dataclass(frozen=True, slots=True)
class Progress:
    """News about a training during `wait`: its present state, and the rounds that have ended since the last news."""

    training: TrainingOut
    ended: tuple[RoundOut, ...]


class NotDone(ApiError):
    """The training or the round did not end within the timeout. It goes on."""


def run_round(
    training_id: str,
    *,
    wait_seconds: float | None = None,
    idempotency_key: str | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> Steps[RoundOut]:
    """Run exactly one round, and return it when it has ended.

    Args:
        training_id: the id of a created, paused or failed training. The training is paused afterwards.
        wait_seconds: how long to wait before the round is returned even if it has not ended. The default waits for the
            end, and 0 does not wait.
        idempotency_key: calls with the same key return the same round. The default is a new key.
        poll_seconds: the time between two requests, if the server has answered before the round ended.
    """
    headers = unique(idempotency_key)
    start: float = yield Pause(0)
    hold = HOLD_SECONDS if wait_seconds is None else min(int(wait_seconds), HOLD_SECONDS)
    prefer: Mapping[str, str] = {"Prefer": f"wait={hold}"} if hold else {}
    where = path("/v1/trainings/{training_id}/rounds", training_id)
    found = yield from call(
        RoundOut, Request("POST", where, headers={**headers, **prefer}, repeatable=True, wait_seconds=hold)
    )
    while found.ended_at is None:
        now: float = yield Pause(0)
        if wait_seconds is not None and now - start >= wait_seconds:
            break
        still = (yield from get_training(training_id)).status == "running"
        found = yield from get_round(training_id, found.number)
        if not still:  # it was paused in the middle of the round
            break
        yield Pause(poll_seconds)
    return found


def wait(
    training_id: str,
    *,
    progress: Callable[[Progress], object] | None = None,
    timeout_seconds: float | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> Steps[TrainingOut]:
    """Wait until a training has completed, failed or been cancelled, and return it.

    Args:
        training_id: the id of the training. If it is paused, `wait` goes on, since it may be resumed.
        progress: is called with news, in the thread that waits.
        timeout_seconds: the time after which `NotDone` is raised. The training goes on.
        poll_seconds: the time between two requests.
    """
    _must_not_be_awaited(progress)
    now: float = yield Pause(0)
    end = None if timeout_seconds is None else now + timeout_seconds
    last = None if end is None else max(end, now + SHORTEST_SECONDS)
    shown, known, training = 0, None, None
    while True:
        try:
            training = yield from until(last, get_training(training_id))
            ended = (yield from until(last, _ended(training_id, shown))) if progress and training != known else ()
        except (NoAnswer, Unavailable) as error:
            now = yield Pause(0)
            if end is None or now < end:
                raise
            raise _not_done(training_id, training, timeout_seconds or 0.0) from error
        if progress is not None and training != known:
            shown = max([shown, *(item.number for item in ended)])
            known = training
            progress(Progress(training, ended))
        if training.status in STOPPED:
            return training
        now = yield Pause(0)
        if end is not None and now >= end:
            raise _not_done(training_id, training, timeout_seconds or 0.0)
        yield Pause(poll_seconds if end is None else min(poll_seconds, end - now))


def train(
    training: CreateTraining | None = None,
    *,
    progress: Callable[[Progress], object] | None = None,
    timeout_seconds: float | None = None,
    **fields: Any,
) -> Steps[TrainingOut]:
    """Create a training, start it, and return it when it has ended. Its `status` says whether it completed.

    Args:
        training: the training to create.
        progress: is called with news, as in `wait`.
        timeout_seconds: the time after which `NotDone` is raised. The training goes on.
        **fields: the fields of the training to create, instead of `training`.
    """
    _must_not_be_awaited(progress)
    created = yield from create_training(training, idempotency_key=secrets.token_hex(16), **fields)
    try:
        yield from start_training(created.id)
    except (NoAnswer, Unavailable):  # the first request may have started it although its answer was lost
        if (yield from get_training(created.id)).status == "created":
            yield from start_training(created.id)
    return (yield from wait(created.id, progress=progress, timeout_seconds=timeout_seconds))


def _not_done(training_id: str, training: TrainingOut | None, timeout_seconds: float) -> NotDone:
    """Make the error that says how a training was when it was last read, if it was."""
    if training is None:
        return NotDone(f"the training {training_id} could not be read within {timeout_seconds:g} s")
    if training.status in STOPPED:
        return NotDone(
            f"the last rounds of the training {training_id}, which is {training.status}, could not be read within "
            f"{timeout_seconds:g} s"
        )
    found = f"the training {training_id} has not ended after {timeout_seconds:g} s: it is {training.status}"
    if training.progress is None or training.progress.reason is None:
        return NotDone(found)
    return NotDone(f"{found}, and {training.progress.state}: {training.progress.reason}")


def _must_not_be_awaited(progress: Callable[[Progress], object] | None) -> None:
    if inspect.iscoroutinefunction(progress):
        raise TypeError("progress must be a plain function, not a coroutine function, since nothing awaits it")


def _ended(training_id: str, shown: int) -> Steps[tuple[RoundOut, ...]]:
    """Read the rounds after number `shown` that have ended, in order."""
    found: list[RoundOut] = []
    cursor, number = None, None
    cursors = Cursors()
    while number is None or number > shown + 1:
        page = yield from list_rounds(training_id, limit=MOST_ROUNDS if cursor else 2, cursor=cursor)
        found += [item for item in page.items if item.number > shown and item.ended_at is not None]
        number, cursor = (page.items[-1].number if page.items else 0), page.next_cursor
        if cursor is None:
            break
        cursors.check(cursor, len(page.items))
    return tuple(reversed(found))
