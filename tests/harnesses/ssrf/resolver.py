"""A server whose names are resolved by the harness: some lead to forbidden addresses, some to another one each time."""

import itertools
import socket
from collections.abc import Sequence
from typing import Any

from tests.harnesses.ssrf.forms import NAMES

REBINDING = "rebind"
ALLOWED = "127.0.0.2"
FORBIDDEN = ("127.0.0.1", "::1")


def install(here: Sequence[str]) -> None:
    """Answer for the names of the harness in this process. `here` are the addresses of ``here.example``."""
    real = socket.getaddrinfo
    asked = itertools.count()

    def lookup(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        name = str(host).lower().rstrip(".")
        addresses = NAMES.get(name)
        if name == "here.example":
            addresses = list(here)
        if name.startswith(REBINDING):  # an allowed one at first, then forbidden ones, or both
            turn = next(asked) % 3
            addresses = [[ALLOWED], [*FORBIDDEN], [ALLOWED, *FORBIDDEN]][turn]
        kwargs.pop("flags", None)
        if addresses is None:
            return real(host, port, *args, **kwargs)
        return [found for address in addresses for found in real(address, port, *args, **kwargs)]

    socket.getaddrinfo = lookup
