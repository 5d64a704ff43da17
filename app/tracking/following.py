"""Follow the events of a control plane, and bring every round that has ended to the trackers.

Events only say that there is something to read. What is written comes from the rounds themselves, which the control
plane keeps for good: events may have been removed by the time that somebody tracks a training.
"""

import re
from collections.abc import Callable, Collection, Sequence

from app.tracking.tracker import CannotTrack, Tracker, TrackerAway
from tcsfeel.client import Client, NoAnswer, Unavailable
from tcsfeel.contract.trainings import TrainingOut
from tcsfeel.text import plain

TYPES = (
    "round.completed", "round.abandoned", "training.started", "training.resumed", "training.extended",
    "training.completed", "training.failed", "training.cancelled",
)  # fmt: skip
"""The types of events after which there may be something to write."""
NO_TYPE = "no.event"
AGAIN_SECONDS = 5.0
PASSING = (TrackerAway, NoAnswer, Unavailable)
"""What passes by itself: a tracker or a control plane that does not answer."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Copying:
    """Copies trainings to trackers. With `only`, those are the trainings with these ids; otherwise all."""

    def __init__(
        self, client: Client, trackers: Sequence[Tracker], *, only: Collection[str] = (), tell: Callable[[str], object]
    ) -> None:
        self._client = client
        self._trackers = trackers
        self._only = frozenset(only)
        self._tell = tell
        self._written: dict[tuple[str, int], int] = {}  # the last round of a training, by the tracker's position
        self._told: dict[str, str] = {}  # what was told last of a training

    def catch_up(self) -> int:
        """Write all rounds that have ended and are not written. Returns the cursor after which events bring more."""
        cursor = self._newest()
        trainings = map(self._client.get_training, sorted(self._only)) if self._only else self._client.trainings()
        for training in list(trainings):
            self._copy(training)
        return cursor

    def follow(self, pause: Callable[[float], object]) -> None:
        """Do what `catch_up` does, and then write each round as it ends, until the caller is interrupted.

        If a tracker or the control plane does not answer, try again after a `pause`, whose seconds it is given.
        """
        while True:
            try:
                after = self.catch_up()
                for event in self._client.events(after=after, types=TYPES, follow=True):
                    if event.training_id is not None and (not self._only or event.training_id in self._only):
                        self._copy(self._client.get_training(event.training_id))
            except PASSING as error:
                self._tell(f"{error}; trying again in {AGAIN_SECONDS:g} s")
                pause(AGAIN_SECONDS)

    def _newest(self) -> int:
        """Return the id of the newest event, to which a page leads that matches none."""
        return self._client.list_events(after=0, types=[NO_TYPE], limit=1).cursor

    def _copy(self, training: TrainingOut) -> None:
        """Bring a training to each tracker. One that was never started has nothing to write."""
        if training.status == "created":
            return
        if not _ID.fullmatch(training.id):
            raise CannotTrack(f"a training has the id {plain(training.id)!r}, which would not be safe in paths")
        for position, tracker in enumerate(self._trackers):
            known = (training.id, position)
            if known not in self._written:
                self._written[known] = tracker.begin(training)
            for number in range(self._written[known] + 1, training.current_round + 1):
                round_ = self._client.get_round(training.id, number)
                if round_.ended_at is None:
                    break
                tracker.write(training, round_)
                self._written[known] = number
            tracker.end(training)
            state = f"{training.status}, up to round {self._written[known]}"
            if state != self._told.get(training.id):
                self._told[training.id] = state
                self._tell(f"{training.id} {plain(training.name)}: {state}")
