"""What every experiment tracker can do."""

from typing import Protocol

from tcsfeel.contract.rounds import RoundOut
from tcsfeel.contract.trainings import TrainingOut
from tcsfeel.errors import Picklable


class CannotTrack(Picklable):
    """A tracker refused something, or cannot be used. Trying again does not help."""


class TrackerAway(Exception):
    """A tracker does not answer at the moment."""


class Tracker(Protocol):
    """Keeps a run for each training. Its methods block, and raise `CannotTrack` or `TrackerAway`."""

    def begin(self, training: TrainingOut) -> int:
        """Find the run of a training, or make it. Returns the number of the last round that it has; 0 for none."""

    def write(self, training: TrainingOut, round_: RoundOut) -> None:
        """Write a round that has ended. Writing it again changes nothing."""

    def end(self, training: TrainingOut) -> None:
        """Write the state of a training that has ended, or of one that goes on after its end."""

    def close(self) -> None:
        """Write what is left, and let go of everything."""
