"""``tcsfeel logs`` says why clients failed, with what their trainers raised."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.commands.failures import failures
from tcsfeel.contract.pages import Page
from tcsfeel.contract.rounds import ClientEvaluationOut, ParticipationOut, RoundOut
from tests.tracking.servers import ID, Plane, ended

TRACEBACK = 'File "my_trainer.py", line 20, in fit\nValueError: \x1b[2Jno sensor'


class Rounds(Plane):
    """A control plane whose list of rounds has no tracebacks, as that of a real one. It notes the limits."""

    def __init__(self, *rounds: RoundOut, **fields: Any) -> None:
        super().__init__(*rounds, **fields)
        self.limits: list[int] = []

    def list_rounds(self, _training_id: str, /, *, limit: int = 100, cursor: str | None = None) -> Page[RoundOut]:
        assert cursor is None
        self.limits.append(limit)
        items = [_without(self.all[number]) for number in sorted(self.all, reverse=True)[:limit]]
        return Page(items=items, next_cursor=None)


def _without(round_: RoundOut) -> RoundOut:
    parts = [part.model_copy(update={"traceback": None}) for part in round_.participations]
    return round_.model_copy(update={"participations": parts})


def _part(client_id: str, status: str, **fields: Any) -> ParticipationOut:
    usual: dict[str, Any] = dict.fromkeys(ParticipationOut.model_fields)
    return ParticipationOut.model_construct(**usual | {"client_id": client_id, "status": status} | fields)


@pytest.fixture
def plane() -> Rounds:
    raised = _part("edge-2", "failed", reason="its trainer failed: no sensor", traceback=TRACEBACK)
    wrong = _part("edge-1", "rejected", reason="it is not finite")
    usual: dict[str, Any] = dict.fromkeys(ClientEvaluationOut.model_fields)
    unread = ClientEvaluationOut.model_construct(**usual | {"client_id": "edge-2", "status": "failed"})
    late = _part("edge-3", "skipped", reason="it came too late")
    return Rounds(
        ended(1, participations=[raised]),
        ended(2),
        ended(3, participations=[wrong, late], evaluations=[unread]),
    )


def _told(found: Iterator[str]) -> list[str]:
    """The lines without the time of each round."""
    return [line if line.startswith((" ", "no ")) else line[line.index("round") :] for line in found]


def test_each_failure_is_a_line_with_the_traceback_below_it(plane: Rounds) -> None:
    assert _told(failures(plane, ID, rounds=10)) == [
        "round 1 edge-2 fit failed: its trainer failed: no sensor",
        '    File "my_trainer.py", line 20, in fit',
        r"    ValueError: \x1b[2Jno sensor",
        "round 3 edge-1 fit rejected: it is not finite",
        "round 3 edge-2 evaluation failed: no reason is known",
    ]


def test_no_more_rounds_are_read_than_are_asked_for(plane: Rounds) -> None:
    assert [*failures(plane, ID, rounds=2)]
    assert plane.limits == [2]


def test_the_id_of_a_client_cannot_move_the_cursor() -> None:
    plane = Rounds(ended(1, participations=[_part("\x1b[2Jedge", "failed", reason="no sensor")]))
    assert _told(failures(plane, ID, rounds=1)) == [r"round 1 \x1b[2Jedge fit failed: no sensor"]


def test_one_client_and_the_newest_rounds_can_be_asked_for(plane: Rounds) -> None:
    assert _told(failures(plane, ID, only="edge-1", rounds=10)) == ["round 3 edge-1 fit rejected: it is not finite"]
    assert len(_told(failures(plane, ID, rounds=1))) == 2
    assert _told(failures(plane, ID, only="edge-3", rounds=2)) == ["no client 'edge-3' failed in the newest 2 rounds"]
