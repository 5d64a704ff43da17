"""A server whose descriptors run out while strangers connect."""

import asyncio
import resource
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.servers import Server, call

SPARE = 6  # descriptors that are left
STRANGERS = 60


async def test_operators_get_in_where_strangers_have_taken_all_descriptors(tmp_path: Path, database_url: str) -> None:
    server = Server(tmp_path, database_url)
    await server.start()
    try:
        with ExitStack() as stack:
            used = len(list(Path(f"/proc/{server.pid}/fd").iterdir()))  # noqa: ASYNC240  (a look at the kernel)
            _, most = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (used + SPARE, most))
            for _ in range(STRANGERS):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(3):  # each on a connection of its own
                async with server.api() as api:
                    assert (await api.get("/healthz")).status_code == 200
                    await call(api, "GET", "/v1/clients")
                    await call(api, "POST", "/v1/trainings", json={"name": "digits"})
            assert await asyncio.to_thread(server.stop) in {0, -signal.SIGTERM}
    finally:
        server.kill()
    log = server.log.read_text()
    assert "Invalid file descriptor" not in log
    assert "socket.accept" not in log
    assert log.count("A connection cannot be accepted") <= 5
    assert log.count("\n") < 200
