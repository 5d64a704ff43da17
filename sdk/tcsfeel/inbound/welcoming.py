"""Tell the server which of its callers have shown a key. This needs nothing of the server itself."""

from collections.abc import Mapping
from typing import Any

from tcsfeel.errors import Picklable

EXTENSION = "tcsfeel.welcome"
KNOWN = "tcsfeel.known"


class Crowded(Picklable):
    """All places for callers with a key are busy with requests that are being answered."""

    def __init__(self, places: int) -> None:
        super().__init__(f"all {places} connections are busy: try again in a moment")


def welcome(scope: Mapping[str, Any], *, device: bool = False) -> None:
    """Note that the sender of a request has shown a key. Raises `Crowded`. Does nothing under another server."""
    take = scope.get("extensions", {}).get(EXTENSION)
    if take is not None:
        take(device)


def is_known(scope: Mapping[str, Any]) -> bool:
    """Tell whether a key was shown over the connection before this request. Under another server, all are known."""
    return bool(scope.get("extensions", {}).get(KNOWN, True))
