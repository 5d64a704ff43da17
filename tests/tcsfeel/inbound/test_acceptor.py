"""Connections that are accepted where descriptors run out."""

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from tcsfeel.inbound import Bounds
from tcsfeel.inbound.acceptor import UNSENT_BYTES, Acceptor
from tcsfeel.inbound.arrivals import Arrivals
from tests.tcsfeel.inbound.sockets import until

FAR_ABOVE = 256  # of the descriptors that are open here


@pytest.fixture
def taken() -> Iterator[list[int]]:
    """Every descriptor that the process may still have, until its limit is as it was."""
    fillers: list[int] = []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield fillers
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for descriptor in fillers:
        os.close(descriptor)


def take_all(fillers: list[int]) -> None:
    """Take what is left below a limit that is far above what the test needs."""
    null = os.open(os.devnull, os.O_RDONLY)
    fillers += [null, fcntl.fcntl(null, fcntl.F_DUPFD, FAR_ABOVE)]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1], most))
    with contextlib.suppress(OSError):
        while True:
            fillers.append(os.dup(null))


async def test_a_descriptor_is_kept_for_a_connection_when_there_is_no_other(
    taken: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    made: list[asyncio.BaseTransport] = []

    class Guest(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    with contextlib.ExitStack() as callers, socket.create_server(("127.0.0.1", 0)) as listener:
        first, second, third = (callers.enter_context(socket.socket()) for _ in range(3))
        acceptor = Acceptor(listener, Guest, Arrivals(Bounds()))
        take_all(taken)
        first.connect(listener.getsockname())
        await until(lambda: len(made) == 1)
        # One for the next connection, and one to keep again.
        os.close(taken.pop())
        os.close(taken.pop())
        second.connect(listener.getsockname())
        await until(lambda: len(made) == 2)
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(taken[0])
        third.connect(listener.getsockname())
        await until(lambda: len(made) == 3)
        for transport in made:
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
        await acceptor.close()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1  # the others are counted, and told later
    assert warnings[0].startswith("A connection cannot be accepted: Too many open files")


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the system cannot bound what it has not sent")
async def test_the_system_holds_little_of_an_answer_that_it_has_not_sent() -> None:
    """A slow link would not be seen to move, and its caller be taken for one that has stopped."""
    made: list[asyncio.BaseTransport] = []

    class Guest(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    with socket.socket() as caller, socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = Acceptor(listener, Guest, Arrivals(Bounds()))
        caller.connect(listener.getsockname())
        await until(lambda: len(made) == 1)
        connection = made[0].get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_BYTES
        made[0].close()
        await acceptor.close()
