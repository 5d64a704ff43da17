"""Give places to connections, and take them back."""

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol

from uvicorn.server import ServerState

from tcsfeel.inbound.bounds import Bounds, places
from tcsfeel.inbound.refusals import Refusals
from tcsfeel.inbound.welcoming import Crowded

READ_BYTES = 262_144
RELIEF = 4  # strangers that lose their places at the same time if descriptors run out, since requests need some as well


class Guest(Protocol):
    """The part of a connection that matters for its place."""

    @property
    def address(self) -> str: ...

    @property
    def idle(self) -> bool: ...

    def evict(self) -> None: ...


class Arrivals(ServerState):
    """The connections of one server: strangers by their address, and callers that have shown a key.

    Attributes:
        note_refused: called with the address and the status of each connection that is refused without the application:
            400 or 431 if it brings no request, 408 if it is too slow, and 429 if its address has too many.
    """

    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        self.bounds = bounds
        self.evictions = 0
        self.refusals = Refusals(bounds)
        self.note_refused: Callable[[str, int], None] = lambda _address, _status: None
        self.buffer = memoryview(bytearray(READ_BYTES))  # one for all: the call that fills it also empties it
        self._strangers: dict[str, dict[Guest, None]] = {}
        self._known: dict[Guest, None] = {}

    def arrive(self, guest: Guest) -> None:
        """Give a stranger a place. If none is free, the address with the most places loses its oldest one."""
        if sum(map(len, self._strangers.values())) >= self._bounds_now.stranger_places:
            self._evict_stranger()
        self._strangers.setdefault(guest.address, {})[guest] = None

    def welcome(self, guest: Guest, device: bool = False) -> None:
        """Give a caller who has shown a key a place that no stranger can take. Raises `Crowded`.

        Devices wait for tasks, each with a connection of its own, and leave some places to other callers.
        """
        if guest in self._known:
            return
        bounds = self._bounds_now
        free = bounds.places - bounds.stranger_places - len(self._known)
        if free <= (bounds.kept_places if device else 0):
            resting = self._resting()
            if resting is None:
                raise Crowded(bounds.places)
            self._evict(resting)
        self.leave(guest)
        self._known[guest] = None

    def knows(self, guest: Guest) -> bool:
        """Tell whether the caller has shown a key."""
        return guest in self._known

    def leave(self, guest: Guest) -> None:
        """Take a place back."""
        self._known.pop(guest, None)
        neighbours = self._strangers.get(guest.address, {})
        neighbours.pop(guest, None)
        if not neighbours:
            self._strangers.pop(guest.address, None)

    def make_room(self) -> bool:
        """Close connections of strangers, or one idle connection, to free descriptors. Tells whether any was closed."""
        evictions = self.evictions
        while self._strangers and self.evictions < evictions + RELIEF:
            self._evict_stranger()
        if evictions == self.evictions and (resting := self._resting()) is not None:
            self._evict(resting)
        return self.evictions > evictions

    @property
    def _bounds_now(self) -> Bounds:
        """Return the bounds with as many places as the current limit of descriptors allows, which may change."""
        return replace(self.bounds, places=min(self.bounds.places, places()))

    def _evict_stranger(self) -> None:
        """Close the oldest connection of the address that has the most strangers."""
        address, fullest = max(self._strangers.items(), key=lambda entry: len(entry[1]))
        self.note_refused(address, HTTPStatus.TOO_MANY_REQUESTS)
        self._evict(next(iter(fullest)))

    def _resting(self) -> Guest | None:
        return next((guest for guest in self._known if guest.idle), None)

    def _evict(self, guest: Guest) -> None:
        self.evictions += 1
        self.leave(guest)
        guest.evict()
