"""Let servers of the standard library answer while a test runs."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Listening = TypeVar("Listening", bound=socketserver.BaseServer)


@contextmanager
def serving(server: Listening) -> Iterator[Listening]:
    """Answer in a thread while the block runs, and close the server then."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
