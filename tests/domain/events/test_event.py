"""What all events have in common."""

from app.domain.events.clients import ClientUpdated
from app.domain.events.trainings import TrainingRoundRequested


def test_an_event_is_about_a_place_and_tells_the_rest() -> None:
    event = TrainingRoundRequested(training_id="t", round=3, was="paused")
    assert event.place() == {"training_id": "t", "round": 3, "client_id": None}
    assert event.data() == {"was": "paused"}
    plain = ClientUpdated(client_id="c", fields=("tags",))
    assert plain.place() == {"training_id": None, "round": None, "client_id": "c"}
    assert plain.data() == {"fields": ("tags",), "url": None, "was": None, "token_forgotten": False}
