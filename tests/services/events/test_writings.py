"""What is written of events is written once for all who are sent it."""

from dataclasses import replace

from app.services.events.writings import Writings
from app.store.events import RecordedEvent

EVENT = RecordedEvent(id=1, at=0.0, type="round.started", training_id="t", round=1, client_id=None, data={})


def test_an_event_is_written_once_and_another_one_with_its_id_again() -> None:
    written: list[RecordedEvent] = []

    def write(event: RecordedEvent) -> str:
        written.append(event)
        return f"{event.type} {len(written)}"

    writings = Writings(write)
    assert [writings.of(EVENT), writings.of(EVENT)] == ["round.started 1"] * 2
    again = replace(EVENT)
    assert [writings.of(again), writings.of(again), writings.of(EVENT)] == [
        "round.started 2",
        "round.started 2",
        "round.started 3",
    ]
    assert [event is EVENT for event in written] == [True, False, True]


def test_what_is_kept_is_bounded() -> None:
    written = []

    def write(event: RecordedEvent) -> bytes:
        written.append(event.id)
        return bytes(40)

    writings = Writings(write, most_bytes=100)
    events = [replace(EVENT, id=number) for number in range(5)]
    for event in (*events[:3], *events[:3]):  # 120 bytes are kept
        writings.of(event)
    assert written == [0, 1, 2]
    for event in (events[3], events[0]):
        writings.of(event)
    assert written == [0, 1, 2, 3, 0]
