"""Parse HTTP/1.1 with h11, a little at a time."""

from typing import Any

import h11

HEAD_BYTES = 16_384  # of a request line with its headers
PIECES = 64  # pieces of a body that are parsed before the application has to ask for more
FEW_PIECES = 1024  # pieces that may have any size
LEAST_PIECE_BYTES = 64  # the least size on average, once there are more pieces


class Parser(h11.Connection):
    """Holds a request's body back until `release`, and refuses a body in too many small pieces.

    Attributes:
        held: whether a body waits for `release`.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, HEAD_BYTES)
        self.held = False
        self._has_body = False
        self._left = self._pieces = self._size = 0

    @property
    def unread(self) -> bool:
        """Tell whether the body of the current request has not ended yet."""
        return self.their_state is h11.SEND_BODY

    def release(self) -> None:
        """Allow the next pieces of the body to be parsed."""
        self._left = PIECES

    def next_event(self) -> Any:
        """Return the next event, as h11 does. Raises `h11.RemoteProtocolError`."""
        self.held = self.unread and self._has_body and self._left == 0
        if self.held:
            return h11.PAUSED
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._has_body = any(map(_announces_body, event.headers))
            self._left = self._pieces = self._size = 0
        elif isinstance(event, h11.Data):
            self._left -= 1
            self._pieces += 1
            self._size += len(event.data)
            if self._pieces > FEW_PIECES and self._size < LEAST_PIECE_BYTES * self._pieces:
                raise h11.RemoteProtocolError(
                    f"the body comes in more than {FEW_PIECES} chunks of less than {LEAST_PIECE_BYTES} bytes on average"
                )
        return event


def _announces_body(header: tuple[bytes, bytes]) -> bool:
    name, value = header
    return name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0") != b"")
