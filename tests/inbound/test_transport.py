"""The transport below a connection, where the other side is gone before it closes."""

import asyncio
import errno

from app.inbound.transport import LingeringTransport


class Reset(asyncio.Transport):
    """A transport whose socket the caller has reset, which nothing has noticed yet."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    def abort(self) -> None:
        self.aborted = True


async def test_a_connection_that_the_caller_has_reset_is_closed_without_an_error() -> None:
    below = Reset()
    transport = LingeringTransport(below, linger_seconds=60.0, unread=lambda: True)
    transport.close()
    assert below.aborted
    transport.lost()
