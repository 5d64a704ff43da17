"""A server that is short of something itself cannot call agents, and blames none of them."""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from app.store.model_store import ModelStore
from tests.services.asking import AGENT
from tests.services.fakes import LOOPBACK, calling, endpoint, listening, reply


@contextmanager
def without_descriptors() -> Iterator[None]:
    """Inside the block this process can open nothing more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_server_without_descriptors_fails_by_itself_and_not_by_its_agent(tmp_path: Path) -> None:
    async with listening(reply("202 Accepted")) as peer, calling(**LOOPBACK) as agents:
        agent, spool = endpoint(peer.url), ModelStore(tmp_path)
        with without_descriptors():
            with pytest.raises(OSError, match="Too many open files"):
                await agents.poll(agent, "t", 0.0, spool)
            await agents.forget(agent, "t")  # which is not worth an error
        assert (await agents.poll(agent, "t", 0.0, spool)).answer == "working"


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL])
async def test_every_shortage_of_this_machine_is_its_own(code: int, tmp_path: Path) -> None:
    def short(_: httpx2.Request) -> httpx2.Response:
        raise OSError(code, "not to be had")

    async with calling(short) as agents:
        with pytest.raises(OSError, match="not to be had"):
            await agents.poll(AGENT, "t", 0.0, ModelStore(tmp_path))
